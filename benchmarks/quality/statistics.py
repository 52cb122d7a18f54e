"""Numbers of several runs of one row: mean and spread over seeds, and what had been spent when a loss was reached."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.quality.records import Record, final


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation over seeds; none of one seed."""

    mean: float
    deviation: float | None

    def written(self, digits: int = 3) -> str:
        """As a table has it."""
        if math.isnan(self.mean):
            return ""
        around = "" if self.deviation is None else f" ± {self.deviation:.{digits}f}"
        return f"{self.mean:.{digits}f}{around}"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(mean=statistics.fmean(values), deviation=statistics.stdev(values) if len(values) > 1 else None)


def scores(records: Sequence[Record], metric: str) -> Spread:
    """Of the last versions of a row's runs."""
    return spread([final(told, metric) for told in records])


def spent(records: Sequence[Record], cost: str) -> float:
    """What a row's runs had spent in the end, on average: `forwards`, `bytes`, `updates` or virtual `seconds`."""
    return statistics.fmean(told["curve"][-1][cost] for told in records)


def reached(told: Record, loss: float, cost: str) -> float | None:
    """What had been spent when a loss was first reached, between two scores by a straight line; none if it never was."""
    before = None
    for point in told["curve"]:
        here, paid = point["metrics"]["loss"], float(point[cost])
        if here <= loss:
            if before is None:
                return paid
            above, less = before
            return float(less + (paid - less) * (above - loss) / (above - here))
        before = here, paid
    return None


def reached_by_all(records: Sequence[Record], loss: float, cost: str) -> float | None:
    """The mean over seeds; none where one of them never reached it."""
    found = [reached(told, loss, cost) for told in records]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if len(known) == len(found) and found else None
