"""How long to wait before something that failed is tried again: longer each time, up to a bound, and never quite alike.

Clients that lost their broker at the same moment do not come back at the same moment.
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Pauses that double."""

    shortest_seconds: float = 0.5
    longest_seconds: float = 30.0

    def seconds(self, failures: int, dice: Random) -> float:
        """The pause after so many failures in a row, at least one: between half of it and all of it."""
        whole = self.shortest_seconds * 2.0 ** min(failures - 1, 32)
        return min(whole, self.longest_seconds) * dice.uniform(0.5, 1.0)
