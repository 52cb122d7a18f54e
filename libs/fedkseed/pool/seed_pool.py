"""What a seed pool is made of: tiles, units, alignment, and the exactness bound on coefficients.

A pool (`federation.Pool`) names K directions z_0 … z_{K-1}: each value is an integer times the family's unit, a
function of (pool seed, family, index, position) alone. Nothing here or beside it reads a generator.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedkseed.errors import LedgerError
from fedkseed.federation import Pool

TILE: Final = 4096  # consecutive positions that share their Philox calls
UNITS: Final = {"hadamard": 1.0, "rademacher": 1.0, "gaussian": 0.5}
MAX_UNITS: Final = {"hadamard": 1, "rademacher": 1, "gaussian": 8}  # max |z| in units
SIGNS, MASKS, RADEMACHER, GAUSSIAN = range(4)  # domains: the last word of a Philox counter


def key(pool: Pool) -> tuple[int, int]:
    """The Philox key: the low and the high half of the pool seed."""
    return pool.seed & 0xFFFFFFFF, pool.seed >> 32


def alignment(pool: Pool) -> int:
    """Where a tensor may start in the global index space: multiples of this many positions."""
    return max(TILE, pool.size) if pool.family == "hadamard" else TILE


def check_exact(pool: Pool, coefficients: NDArray[np.int64]) -> None:
    """Refuse coefficients whose sums over directions might not be exact in float64.

    Raises:
        LedgerError: sum |a_k| * max |z| reaches 2^53.
    """
    bound = sum(abs(int(a)) for a in coefficients[coefficients != 0]) * MAX_UNITS[pool.family]
    if bound >= 2**53:
        raise LedgerError(f"coefficients are too large to be exact: sum |a_k| * max |z| is {bound}, at or above 2^53")
