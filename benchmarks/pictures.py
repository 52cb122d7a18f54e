"""Pictures of records as SVG files, for what a table shows badly: how a figure grows, and how far apart figures are.

Pure functions of a record; the same record gives the same file. Colours follow the reader's choice of light or dark.
"""

import io
import re
from collections.abc import Callable, Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.targets import TARGETS, Record
from fedkseed_simulator.plots import ACCENT, CONTRAST, FAINT, INK, STYLE, VARIABLES

LIGHT = {"ink": "#1b2230", "faint": "#667085", "line": "#e1e5ec", "accent": "#3257d6", "contrast": "#c2410c", "card": "#ffffff"}
DARK = {"ink": "#e7ebf2", "faint": "#95a0b2", "line": "#2b3443", "accent": "#86a5ff", "contrast": "#f59e63", "card": "#181e28"}


def scale(record: Record) -> str:
    """What an update costs, and the largest size of the process, by the number of clients."""
    rows = record["rows"]
    clients = [row["clients"] for row in rows]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        cost, size = figure.subplots(1, 2)
        _growth(
            cost,
            clients,
            [row[f"over {clients[0]}"] for row in rows],
            f"processor time of an update, over that with {clients[0]:,}",
        )
        limit = next(target.most for target in TARGETS if target.benchmark == "scale")
        cost.axhline(limit, color=CONTRAST, linewidth=1.2, linestyle=(0, (4, 3)))
        cost.set_ylim(0, 1.6)
        _growth(size, clients, [row["largest MiB"] for row in rows], "largest size of the process, MiB")
        size.set_ylim(0, 1.15 * max(row["largest MiB"] for row in rows))
        return svg(figure)


def memory(record: Record) -> str:
    """The largest size of each process, over plain inference; a mark for each target."""
    rows = record["rows"]
    names, ratios = [row["process"] for row in rows], [row["ratio"] for row in rows]
    most = {target.row["process"]: target.most for target in TARGETS if target.benchmark == "memory"}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.34 * len(names) + 0.75), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="x")
        axes.barh(names, ratios, 0.62, color=ACCENT)
        for line, (name, ratio) in enumerate(zip(names, ratios, strict=True)):
            axes.annotate(f"{ratio:.2f}", (ratio, line), (5, 0), textcoords="offset points", va="center", weight="bold")
            if name in most:
                axes.plot([most[name]] * 2, [line - 0.42, line + 0.42], color=CONTRAST, linewidth=2)
        axes.set_xlim(0, 1.12 * max(*ratios, *most.values()))
        axes.set_xlabel("memory over plain inference; the marks are targets")
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelcolor=INK)
        return svg(figure)


DRAWN: Mapping[str, Callable[[Record], str]] = {"scale": scale, "memory": memory}  # by benchmark


def _growth(axes: Axes, clients: list[int], values: list[float], title: str) -> None:
    axes.grid(axis="y")
    axes.plot(clients, values, color=ACCENT, linewidth=1.8, marker="o", markersize=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.minorticks_off()
    axes.set_xlabel("clients")
    axes.set_title(title, fontsize=9, color=FAINT, loc="left")


def svg(figure: Figure) -> str:
    """Write a figure as a file that stands alone: no date, colours by the reader's choice of light or dark."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    text = re.sub(r"#0[0-9]0[0-9]0[0-9]", lambda colour: f"var({VARIABLES[colour.group()]})", file.getvalue())
    return text.replace(
        "<defs>", f"<style>\n{_rules(LIGHT)}\n@media (prefers-color-scheme: dark) {{ {_rules(DARK)} }}\n</style>\n<defs>", 1
    )


def _rules(colours: Mapping[str, str]) -> str:
    return "svg { " + " ".join(f"--{name}: {colour};" for name, colour in colours.items()) + " }"
