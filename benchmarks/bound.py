"""What a figure is held against."""

from dataclasses import dataclass
from math import inf, isfinite

from benchmarks.tables import cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A figure that should not be larger, or not smaller."""

    what: str
    most: float = inf
    least: float = -inf
    unit: str = ""

    @property
    def aim(self) -> str:
        """The bound, in words."""
        said = f"at most {cell(self.most)}" if isfinite(self.most) else f"at least {cell(self.least)}"
        return f"{said} {self.unit}".rstrip()

    def met(self, value: float) -> bool:
        """Whether a value is within it."""
        return self.least <= value <= self.most
