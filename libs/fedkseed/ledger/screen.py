"""What robust folding lets an update count for: its scalars and its norm within the bounds of the open round.

Bounds were fixed when the round opened, so that what an update adds depends on nothing that came after.
"""

import math

import numpy as np

from fedkseed.ledger.statistics import Bounds, Integers
from fedkseed.ledger.tally import IMPORTANCE_CLIP, Tally


def cut(tally: Tally, bounds: Bounds) -> tuple[Tally, bool]:
    """Clip every scalar, then scale all of them down to the norm: sum' = round(sum * (bound / norm)); say whether that was."""
    if not len(tally.seeds):
        return tally, False
    starts = np.cumsum(tally.counts) - tally.counts
    clipped = np.clip(tally.pairs, -bounds.scalar, bounds.scalar)
    sums = np.add.reduceat(clipped, starts)
    importance = np.add.reduceat(np.minimum(np.abs(clipped), IMPORTANCE_CLIP), starts)
    if shrunk := (norm := length(sums)) > bounds.norm:
        sums, importance = (_scaled(values, bounds.norm / norm) for values in (sums, importance))
    return tally.of(sums, importance), shrunk


def _scaled(values: Integers, factor: float) -> Integers:
    return np.rint(values.astype(np.float64) * factor).astype(np.int64)


def length(values: Integers) -> int:
    """The Euclidean norm, rounded down, in integers: |values| add up to at most 2^47.

    Halves of 24 bits keep every sum of squares below 2^64.
    """
    size = np.abs(values).astype(np.uint64)
    high, low = size >> np.uint64(24), size & np.uint64((1 << 24) - 1)
    squares, products, small = (int((a * b).sum()) for a, b in ((high, high), (high, low), (low, low)))
    return math.isqrt((squares << 48) + (products << 25) + small)
