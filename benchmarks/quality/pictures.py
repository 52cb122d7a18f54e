"""Pictures of results: loss against what was spent, and how probabilities look; pure functions of records."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.pictures import svg
from benchmarks.quality.records import Record
from fedkseed_simulator.plots import ACCENT, CONTRAST, FAINT, INK, STYLE, amount

MARKERS = "os^Dvx+*P<>"
Rows = Mapping[str, Sequence[Record]]  # of one experiment, by the name of the row


def methods(rows: Rows) -> str:
    """Loss against bytes, and against forwards; ours in one colour, the others in another."""
    return _curves(rows, (("bytes", "bytes that clients sent and received"), ("forwards", "forwards of an example")), log=True)


def stragglers(rows: Rows) -> str:
    """Loss against virtual time, and against updates; synchronous runs in one colour, bounded staleness in another."""
    return _curves(rows, (("seconds", "virtual seconds"), ("updates", "updates")), log=False)


def importance(rows: Rows) -> str:
    """How much likelier than uniform each direction is drawn in the end, from the most to the least likely."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y")
        for (name, told), style in zip(_with(rows, "importance"), ("-", "--", ":"), strict=False):
            odds = told["notes"]["importance"]
            ranks = [i / (len(odds) - 1) for i in range(len(odds))]
            axes.plot(ranks, odds, color=ACCENT, linestyle=style, label=name)
        axes.axhline(1, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlabel("share of the directions, most important first")
        axes.set_ylabel("probability, over uniform")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        return svg(figure)


DRAWN: Mapping[str, Callable[[Rows], str]] = {"methods": methods, "stragglers": stragglers, "importance": importance}


def _with(rows: Rows, note: str) -> list[tuple[str, Record]]:
    """The first run of each row that has a note."""
    return [(name, told[0]) for name, told in rows.items() if told and note in told[0]["notes"]]


def _curves(rows: Rows, costs: Sequence[tuple[str, str]], *, log: bool) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2 + 0.16 * len(rows)), layout="constrained")
        for axes, (cost, title) in zip(figure.subplots(1, len(costs), sharey=True), costs, strict=True):
            _plot(axes, rows, cost, log=log)
            axes.set_xlabel(title)
        figure.axes[0].set_ylabel("held-out loss")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return svg(figure)


def _plot(axes: Axes, rows: Rows, cost: str, *, log: bool) -> None:
    axes.grid(axis="y")
    for (name, told), marker in zip(rows.items(), MARKERS * 2, strict=False):
        curve = [point for point in told[0]["curve"] if point[cost] > 0 or not log]
        x, y = [point[cost] for point in curve], [point["metrics"]["loss"] for point in curve]
        axes.plot(x, y, color=_colour(name), marker=marker, markersize=3, linewidth=1.2, label=name)
    if log:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value) if cost == "bytes" else f"{value:,.0f}"))


def _colour(name: str) -> str:
    if name.startswith("ours") or "S = " in name:
        return ACCENT
    return CONTRAST if name != "zero-shot" else INK
