"""Plots of a report as inline SVG whose colours are CSS variables: the page decides between light and dark.

Pure functions from numbers to SVG text. Nothing is loaded from elsewhere, and the same numbers give the same text.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

# matplotlib draws in these stand-ins; `_svg` replaces each by the variable of the page's style sheet.
VARIABLES = {
    "#010101": "--ink",
    "#020202": "--faint",
    "#030303": "--line",
    "#040404": "--accent",
    "#050505": "--contrast",
    "#060606": "--card",
    "#070701": "--folded",
    "#070702": "--discounted",
    "#070703": "--stale",
    "#070704": "--refused",
}
INK, FAINT, LINE, ACCENT, CONTRAST, CARD, FOLDED, DISCOUNTED, STALE, REFUSED = VARIABLES
OUTCOME_COLOURS = {"folded": FOLDED, "discounted": DISCOUNTED, "stale": STALE}  # others: REFUSED
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "fedkseed",
    "font.size": 9,
    "text.parse_math": False,  # a dollar is a dollar
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.color": LINE,
    "ytick.labelcolor": FAINT,
    "ytick.major.size": 0,
}
TIMES = "\N{MULTIPLICATION SIGN}"
MARKED = 40  # curves of at most so many points show each of them
NEAR = 0.12  # of a curve's width: as much as a written value covers
DRAWN = 512  # points of the importance curve


def curve(x: Sequence[float], y: Sequence[float], *, across: str, percent: bool) -> str:
    """Plot a score against versions or time; its first and last value are written beside it."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        axes.grid(axis="y")
        axes.plot(x, y, color=ACCENT, linewidth=1.8, marker="o" if len(x) <= MARKED else None, markersize=3)
        axes.plot(x[-1:], y[-1:], color=ACCENT, marker="o", markersize=5.5, markeredgecolor=CARD)
        axes.margins(x=0.03, y=0.18)
        if len(x) == 1:
            axes.set_xlim(x[0] - 0.05, x[0] + 1)
        for end in {0, len(x) - 1}:
            _write_value(axes, x, y, end, percent=percent)
        axes.set_xlabel(across)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=across == "version"))
        if percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        return _svg(figure)


def staleness(decided: Mapping[str, Mapping[int, int]]) -> str:
    """Plot how stale the decided updates were, stacked by outcome: counts by outcome and staleness."""
    last = max(staleness for counts in decided.values() for staleness in counts)
    base = np.zeros(last + 1)
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        axes.grid(axis="y")
        for outcome, counts in decided.items():
            heights = np.array([counts.get(staleness, 0) for staleness in range(last + 1)])
            colour = OUTCOME_COLOURS.get(outcome, REFUSED)
            axes.bar(np.arange(last + 1), heights, 0.82, base, color=colour, edgecolor=CARD, linewidth=0.8, label=outcome)
            base += heights
        axes.set_xlabel("staleness: versions committed since the client's base")
        axes.set_ylabel("updates")
        axes.set_xlim(-0.7, max(last, 5) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        return _svg(figure)


def traffic(loads: Sequence[tuple[str, float]], reference: tuple[str, float]) -> str:
    """Plot bytes on a logarithmic scale: one bar for each load, and one to compare with."""
    names, sizes = zip(*loads, reference, strict=True)
    with mpl.rc_context(STYLE):
        figure, axes = _axes(height=0.34 * len(names) + 0.75)
        axes.grid(axis="x")
        colours = [ACCENT] * len(loads) + [CONTRAST]
        axes.barh(names, np.maximum(sizes, 1), 0.62, color=colours)
        for row, size in enumerate(sizes):
            axes.annotate(amount(size), (max(size, 1), row), (5, 0), textcoords="offset points", va="center", weight="bold")
        axes.set_xscale("log")
        axes.set_xlim(1, max(sizes) * 60)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
        axes.xaxis.set_major_locator(LogLocator(base=1000, numticks=6))
        axes.xaxis.minorticks_off()
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines["left"].set_visible(False)
        return _svg(figure)


def importance(relative: Sequence[float]) -> str:
    """Plot how much likelier than uniform each seed is drawn, from the most to the least likely."""
    ordered = np.sort(np.asarray(relative, dtype=np.float64))[::-1]
    ranks = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), DRAWN)).astype(np.intp))
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        axes.grid(axis="y")
        axes.fill_between(ranks + 1, 1, ordered[ranks], step="mid", color=ACCENT, alpha=0.18, linewidth=0)
        axes.step(ranks + 1, ordered[ranks], where="mid", color=ACCENT, linewidth=1.8)
        axes.axhline(1, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            "uniform", (1, 1), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", color=FAINT
        )
        axes.set_xlabel("seeds, most important first")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{TIMES}"))
        axes.margins(x=0.01)
        return _svg(figure)


def levels(relative: Sequence[float]) -> str:
    """Plot how many seeds share each probability (there are at most sixteen)."""
    values, counts = np.unique(np.round(np.asarray(relative, dtype=np.float64), 9), return_counts=True)
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        axes.grid(axis="y")
        axes.bar(np.arange(len(values)), counts, 0.82, color=ACCENT)
        every = -(-len(values) // 8)
        axes.set_xticks(np.arange(0, len(values), every), [f"{value:.2f}{TIMES}" for value in values[::every]])
        axes.set_xlabel("probability, against uniform")
        axes.set_ylabel("seeds")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        return _svg(figure)


def amount(size: float) -> str:
    """Write a number of bytes with up to three digits: 0.4 B, 118 B, 1.28 KB, 538 MB."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.1g} {unit}" if size < 0.95 else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _axes(height: float = 2.7) -> tuple[Figure, Axes]:
    """Start a plot as wide as a card."""
    figure = Figure(figsize=(5.2, height), layout="constrained")
    return figure, figure.add_subplot()


def _write_value(axes: Axes, x: Sequence[float], y: Sequence[float], end: int, *, percent: bool) -> None:
    """Write the first or last value where it does not touch the curve."""
    near = [value for at, value in zip(x, y, strict=True) if abs(at - x[end]) <= NEAR * (x[-1] - x[0])]
    above = (y[-1] < y[0]) == (end == 0)
    text = f"{y[end]:.1%}" if percent else f"{y[end]:.3f}"
    where = (x[end], max(near) if above else min(near))
    side = "left" if end == 0 else "right"
    axes.annotate(text, where, (0, 7 if above else -14), textcoords="offset points", ha=side, weight="bold")


def _svg(figure: Figure) -> str:
    """Write a plot as inline SVG: colours by variable, no name spaces, no identifiers that another plot might repeat."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)  # the page's style sheet has these rules
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| version="1.1"| (?:width|height)="[\d.]+pt"| transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"| font-family: [^;]*;', "", text)
    return re.sub(r"#0[0-9]0[0-9]0[0-9]", lambda colour: f"var({VARIABLES[colour.group()]})", " ".join(text.split()))
