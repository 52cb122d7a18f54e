"""Draws the dashboards from a running Prometheus, as Grafana lays them out.

    python -m deploy.grafana.pictures http://127.0.0.1:9090 docs/pictures [--minutes N]

For pages and for eyes without a Grafana: every query is asked, every panel is drawn where it lies.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deploy.grafana import sdk
from deploy.grafana.answers import Prometheus, Series, fill_in
from deploy.grafana.dashboard import Dashboard, Panel, Query, Unit
from deploy.grafana.files import DASHBOARDS

COLUMNS, COLUMN_INCHES, ROW_INCHES, DPI = 24, 0.58, 0.29, 72
WINDOW, BRIEF = "1m", "10s"  # as is right for a short run that is looked at every second
SAMPLES = 240
LEGENDS = 10
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a")
COLOURS = {
    "green": "#73bf69",
    "orange": "#ff9830",
    "red": "#f2495c",
    "dark-red": "#c4162a",
    "blue": "#5794f2",
    "light-blue": "#8ab8ff",
    "yellow": "#fade2a",
    "purple": "#b877d9",
    "dark-purple": "#8f3bb8",
    "gray": "#8e8e8e",
    "dark-gray": "#5a5a5a",
}
PAGE, CARD, INK, FAINT = "#111217", "#181b1f", "#ccccdc", "#7b7f8a"

Box = tuple[float, float, float, float]  # left, bottom, width, height, as shares of the figure
Found = Sequence[tuple[Query, Series]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The time that is drawn."""

    prometheus: Prometheus
    start: float
    end: float

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return (self.end - self.start) / SAMPLES

    def lines(self, query: Query) -> Sequence[Series]:
        """The series of a query over the run."""
        expr = fill_in(query.expr, window=WINDOW, brief=BRIEF)
        return self.prometheus.range(expr, start=self.start, end=self.end, step=self.step)


def draw(dashboard: Dashboard, run: Run) -> Figure:
    """A whole dashboard."""
    laid = json.loads(sdk.text(dashboard))["panels"]
    described = {panel.title: panel for row in dashboard.rows for panel in row.panels}
    rows = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in laid)
    figure = Figure(figsize=(COLUMNS * COLUMN_INCHES, rows * ROW_INCHES), dpi=DPI, facecolor=PAGE)
    for each in laid:
        at = each["gridPos"]
        left, bottom = at["x"] / COLUMNS, 1 - (at["y"] + at["h"]) / rows
        if each["type"] == "row":
            figure.text(left + 0.006, bottom + 0.3 / rows, each["title"], color=INK, size=11, weight="bold")
        else:
            _panel(figure, described[each["title"]], (left, bottom, at["w"] / COLUMNS, at["h"] / rows), rows, run)
    return figure


def _panel(figure: Figure, panel: Panel, box: Box, rows: int, run: Run) -> None:
    left, bottom, width, height = box
    gap = 0.1 / COLUMNS
    card = figure.add_axes((left + gap, bottom + gap, width - 2 * gap, height - 2 * gap), facecolor=CARD)
    card.set(xticks=[], yticks=[])
    for spine in card.spines.values():
        spine.set_visible(False)
    figure.text(left + 0.006, bottom + height - 0.75 / rows, panel.title, color=INK, size=9)
    found = [(query, series) for query in panel.queries for series in run.lines(query) if series.numbers]
    if not found:
        figure.text(left + width / 2, bottom + height / 2, "No data", color=FAINT, size=9, ha="center")
    elif panel.kind in {"number", "word"}:
        _numbers(figure, panel, box, rows, found)
    else:
        axes = figure.add_axes(
            (left + 1.15 / COLUMNS, bottom + 2.4 / rows, width - 1.4 / COLUMNS, height - 3.5 / rows), facecolor=CARD
        )
        _lines(axes, panel, found, run)


def _numbers(figure: Figure, panel: Panel, box: Box, rows: int, found: Found) -> None:
    """Last values side by side."""
    left, bottom, width, height = box
    latest = max(series.points[-1][0] for _, series in found)
    now = [(query, series) for query, series in found if series.points[-1][0] == latest]
    for i, (query, series) in enumerate(now):
        value, name = series.numbers[-1], series.name(query.legend)
        word, colour = panel.names.get(f"{value:g}", (written(value, panel.unit), _step(panel, value)))
        if panel.kind == "word":
            word, colour = name, panel.colours.get(name, colour)
        at = left + width * (i + 0.5) / len(now)
        figure.text(at, bottom + height * 0.36, word, color=COLOURS[colour], size=17, ha="center", weight="bold")
        if panel.kind == "number":
            figure.text(at, bottom + 0.45 / rows, name, color=FAINT, size=8, ha="center")


def _lines(axes: Axes, panel: Panel, found: Found, run: Run) -> None:
    names = [series.name(query.legend) for query, series in found]
    colours = [COLOURS[panel.colours[n]] if n in panel.colours else PALETTE[i % len(PALETTE)] for i, n in enumerate(names)]
    if panel.kind == "stacked":
        _stack(axes, [series for _, series in found], names, colours)
    else:
        style = "steps-post" if panel.kind == "steps" else "default"
        for (_, series), name, colour in zip(found, names, colours, strict=True):
            axes.plot(*zip(*_with_gaps(series, run), strict=True), color=colour, label=name, linewidth=1.4, drawstyle=style)
    for at, colour in panel.steps[1:]:
        axes.axhline(at or 0.0, color=COLOURS[colour], linewidth=0.8, linestyle="--")
    axes.set_xlim(run.start, run.end)
    nothing = all(value == panel.low for _, series in found for value in series.numbers)
    axes.set_ylim(bottom=panel.low, top=1.0 if nothing else panel.high)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: time.strftime("%H:%M:%S", time.gmtime(at))))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=panel.unit == "none"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, panel.unit)))
    axes.tick_params(colors=FAINT, labelsize=7, length=0)
    axes.grid(color="#2c3036", linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[:LEGENDS],
        labels[:LEGENDS],
        loc="upper left",
        bbox_to_anchor=(-0.08, -0.13),
        ncols=min(4, len(handles)) if max(map(len, labels)) < 18 else 3,
        fontsize=7,
        frameon=False,
        labelcolor=INK,
        handlelength=1.2,
        columnspacing=1.0,
        labelspacing=0.25,
        borderaxespad=0.0,
    )


def _with_gaps(series: Series, run: Run) -> Sequence[tuple[float, float]]:
    """The points, and one that is no number wherever some are missing: a line must not be drawn there."""
    points: list[tuple[float, float]] = []
    for at, value in series.points:
        if points and at - points[-1][0] > 1.5 * run.step:
            points.append((points[-1][0] + run.step, math.nan))
        points.append((at, value))
    return points


def _stack(axes: Axes, all_series: list[Series], names: list[str], colours: list[str]) -> None:
    """What a series has no value for counts as nothing."""
    times = sorted({at for series in all_series for at, _ in series.points})
    found = [{at: value for at, value in series.points if not math.isnan(value)} for series in all_series]
    values = [[each.get(at, 0.0) for at in times] for each in found]
    axes.stackplot(times, *values, labels=names, colors=colours, alpha=0.75)


def _step(panel: Panel, value: float) -> str:
    return [colour for at, colour in panel.steps if at is None or value >= at][-1]


def written(value: float, unit: Unit) -> str:
    """A value as people read it."""
    match unit:
        case "percentunit":
            return f"{100 * value:.3g} %"
        case "s":
            return _scaled(value, (("ms", 1e-3), ("s", 1), ("min", 60), ("h", 3600)))
        case "bytes" | "Bps":
            text = _scaled(value, (("B", 1), ("KiB", 1024), ("MiB", 1024**2), ("GiB", 1024**3)))
            return text + ("/s" if unit == "Bps" else "")
        case "ops":
            return f"{value:.3g}/s"
        case "none" | "short":
            return f"{value:.4g}"


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> str:
    name, size = [(name, size) for name, size in units if abs(value) >= size][-1] if abs(value) >= units[0][1] else units[0]
    return f"{value / size:.3g} {name}" if value else "0"


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    told: Any = parser.parse_args()
    end = time.time()
    run = Run(prometheus=Prometheus(told.url), start=end - 60 * told.minutes, end=end)
    for dashboard in DASHBOARDS:
        draw(dashboard, run).savefig(told.folder / f"{dashboard.name}.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
