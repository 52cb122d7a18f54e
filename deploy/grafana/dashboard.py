"""What a dashboard is: rows of panels, each with its queries. Nothing here knows Grafana.

A panel without a meaning, a unit and a page to read on cannot be made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

Kind = Literal["lines", "steps", "stacked", "number", "word"]
Unit = Literal["short", "s", "bytes", "Bps", "percentunit", "ops", "none"]  # Grafana's names

GOOD, FAIR, BAD, PLAIN = "green", "orange", "red", "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question to Prometheus.

    Args:
        expr: PromQL, with Grafana's variables.
        legend: what its series are called, with `{{label}}`.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture.

    Args:
        title: what is shown.
        meaning: what it tells, and what to look out for.
        see: the page and heading of the documentation to read on.
        unit: of all its values.
        queries: what is drawn.
        kind: lines; lines that stay until they change; stacked areas; the last value as a number; the name of the series
            that is 1.
        width: out of 24.
        height: in Grafana's rows.
        steps: colours from a value on; the first has no value to begin from.
        names: words for values.
        colours: of series, by name.
        low: where the axis begins, at most.
        high: where it ends.
        decimals: after the point; Grafana's choice without it.
    """

    title: str
    meaning: str
    see: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float | None, str], ...] = ((None, PLAIN),)
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # value: (word, colour)
    colours: Mapping[str, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    decimals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One page.

    Args:
        name: of its file and its address.
        title: as people read it.
        meaning: what it is for.
        rows: from top to bottom.
        instances: the job whose instances can be chosen from; none without it.
    """

    name: str
    title: str
    meaning: str
    rows: tuple[Row, ...]
    instances: str | None = None


number = partial(Panel, kind="number", width=4, height=4)  # for one look
