"""What the figures are measured against: which value of which record, and how large or small it may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from benchmarks.bound import Bound

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Bound):
    """A figure of a record."""

    benchmark: str  # whose record
    column: str
    row: Mapping[str, object] = field(default_factory=dict)  # what the row has in other columns; any without

    def measured(self, records: Mapping[str, Record]) -> float | None:
        """What was measured last, the worst of all rows that it is about; None where nobody did."""
        rows = records.get(self.benchmark, {}).get("rows", ())
        found = (float(row[self.column]) for row in rows if self.row.items() <= row.items() and self.column in row)
        return max(found, default=None) if isfinite(self.most) else min(found, default=None)


def _at_most(most: float, what: str, benchmark: str, column: str, unit: str = "", **row: object) -> Target:
    return Target(what=what, benchmark=benchmark, column=column, row=row, most=most, unit=unit)


def _at_least(least: float, what: str, benchmark: str, column: str, **row: object) -> Target:
    return Target(what=what, benchmark=benchmark, column=column, row=row, least=least)


STEPS = {
    "float32": {"1 x 64": 1.40, "8 x 32": 1.15, "8 x 64": 1.10},
    "bfloat16": {"1 x 64": 1.55, "8 x 32": 1.30, "8 x 64": 1.20},
}
TARGETS = (
    *(
        _at_most(most, f"a step in {dtype} of {tokens} tokens, over two forward passes", "step", "step ratio", **shape)
        for dtype, shapes in STEPS.items()
        for tokens, most in shapes.items()
        for shape in [{"dtype": dtype, "tokens": tokens}]
    ),
    _at_most(1.03, "a step with a sparse support, the worst of these", "step", "sparse ratio"),
    _at_most(1.2, "a rebuild from a dense ledger over `torch.add`, the worst dtype", "rebuild", "ratio"),
    _at_least(20_000, "the per-seed loop of the published code over a rebuild", "rebuild", "loop / rebuild"),
    _at_most(0.25, "a rebuild with the family gaussian over that loop", "rebuild", "gaussian / loop"),
    _at_most(1.03, "memory of training a sparse support, over plain inference", "memory", "ratio", process="sparse support"),
    _at_most(1.15, "memory of training in streaming mode", "memory", "ratio", process="streaming"),
    _at_most(2.1, "memory of training all parameters", "memory", "ratio", process="full support"),
    _at_most(6, "from a client's start to its first step", "startup", "client s", "s"),
    _at_most(4500, "bytes of a client and round, directions drawn uniformly", "wire", "uniform", bytes="total"),
    _at_most(6600, "the same, directions drawn by importance", "wire", "importance", bytes="total"),
    _at_most(30, "from an update's confirm to its receipt at 500 updates/s, median", "latency", "p50 ms", "ms", program="ours"),
    _at_most(150, "the same, 99th percentile", "latency", "p99 ms", "ms", program="ours"),
    _at_least(0.65, "updates folded by one aggregator, over letters that bare pika answers", "aggregator", "ratio"),
    _at_most(
        1.3,
        "processor time of an update with a million clients, over that with a thousand, each over the codec's",
        "scale",
        "over 1000",
        clients=1_000_000,
    ),
)
