"""What the figures are measured against: which value of which record, and how large or small it may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A value that should not be larger, or not smaller."""

    what: str
    benchmark: str  # whose record
    column: str
    row: Mapping[str, object] = field(default_factory=dict)  # what the row has in other columns; any without
    most: float = inf
    least: float = -inf
    unit: str = ""

    @property
    def aim(self) -> str:
        """The bound, in words."""
        said = f"at most {self.most:g}" if isfinite(self.most) else f"at least {self.least:g}"
        return f"{said} {self.unit}".rstrip()

    def met(self, value: float) -> bool:
        """Whether a value is within it."""
        return self.least <= value <= self.most

    def measured(self, records: Mapping[str, Record]) -> float | None:
        """What was measured last; None where nobody did."""
        rows = records.get(self.benchmark, {}).get("rows", ())
        found = (row for row in rows if self.row.items() <= row.items() and self.column in row)
        return next((float(row[self.column]) for row in found), None)


TARGETS = (
    Target(
        what="processor time of an update with a million clients, over that with a thousand, each over the codec's",
        benchmark="scale",
        column="over 1000",
        row={"clients": 1_000_000},
        most=1.3,
    ),
    Target(
        what="updates folded by one aggregator, over letters that bare pika answers",
        benchmark="aggregator",
        column="ratio",
        least=0.65,
    ),
    Target(
        what="from an update's confirm to its receipt at 500 updates/s, median",
        benchmark="latency",
        column="p50 ms",
        row={"program": "ours"},
        most=30,
        unit="ms",
    ),
    Target(
        what="the same, 99th percentile",
        benchmark="latency",
        column="p99 ms",
        row={"program": "ours"},
        most=150,
        unit="ms",
    ),
    Target(what="from a client's start to its first step", benchmark="startup", column="client s", most=6, unit="s"),
    Target(
        what="bytes of a client and round, directions drawn uniformly",
        benchmark="wire",
        column="uniform",
        row={"bytes": "total"},
        most=5000,
    ),
    Target(
        what="the same, directions drawn by importance",
        benchmark="wire",
        column="importance",
        row={"bytes": "total"},
        most=7200,
    ),
    Target(
        what="memory of training a sparse support, over plain inference",
        benchmark="memory",
        column="ratio",
        row={"process": "sparse support"},
        most=1.03,
    ),
    Target(
        what="memory of training in streaming mode, over plain inference",
        benchmark="memory",
        column="ratio",
        row={"process": "streaming"},
        most=1.15,
    ),
    Target(
        what="memory of training all parameters, over plain inference",
        benchmark="memory",
        column="ratio",
        row={"process": "full support"},
        most=2.1,
    ),
)
