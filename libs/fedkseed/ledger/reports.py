"""What updates say of the training they came from, and what they weigh: for operators; nothing is decided by it.

The sums of a round are integers, so that they do not depend on the order in which its updates came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

from fedkseed.messages import Update

REPORTED = 256  # newest rounds whose reports are kept
FIXED_POINT = 65536
MOST = 1 << 20  # a loss counts for no more, so that no sum can overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one update says."""

    loss: float  # mean over its evaluations; NaN where it is not finite
    seconds: float  # that its training took; the same
    size: int  # bytes of its body; 0 where nobody counted

    @classmethod
    def of(cls, update: Update, size: int) -> "Report":
        """The report of an update that came with so many bytes."""
        loss, seconds = (value if isfinite(value) else nan for value in (update.loss, update.seconds))
        return cls(loss=loss, seconds=seconds, size=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """What the updates say that one round has folded."""

    updates: int = 0
    size: int = 0  # bytes, all together
    losses: int = 0  # updates whose loss is finite
    loss: int = 0  # sum of them, over 65536

    @classmethod
    def of(cls, reports: Sequence[Report]) -> "RoundReport":
        """Of updates with these reports."""
        losses = [report.loss for report in reports if isfinite(report.loss)]
        return cls(
            updates=len(reports),
            size=sum(report.size for report in reports),
            losses=len(losses),
            loss=sum(round(max(-MOST, min(MOST, loss)) * FIXED_POINT) for loss in losses),
        )

    def __add__(self, other: "RoundReport") -> "RoundReport":
        """Of the updates of both."""
        return RoundReport(
            updates=self.updates + other.updates,
            size=self.size + other.size,
            losses=self.losses + other.losses,
            loss=self.loss + other.loss,
        )

    @property
    def mean_loss(self) -> float | None:
        """Mean training loss of the updates, all alike; None without one that is finite."""
        return self.loss / FIXED_POINT / self.losses if self.losses else None

    @property
    def mean_size(self) -> float | None:
        """Mean bytes of an update."""
        return self.size / self.updates if self.updates else None
