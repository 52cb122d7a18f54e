"""What robust folding knows of earlier updates, in integers: running medians, and who is under suspicion.

Medians come from histograms with buckets that are a thirty-second wide, so that they are exact functions of the counts,
whatever the order of what was counted. Nothing here decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

MEMORY = 256  # updates that medians remember at the most; then the older ones count half
PAIR = 65536  # of agreement, or of suspicion, is one pair
_STEPS = 32  # buckets between a power of two and the next
BUCKETS = _STEPS * (53 - 4)  # values are below 2^53


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an update may count for in the open round; fixed when it opens."""

    scalar: int  # |g|, in 1/65536
    norm: int  # of the sums per seed, in 1/65536
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an update says about its client, and about updates in general."""

    norm: int  # as it came, in 1/65536
    examples: int  # as it came
    agreement: int = 0  # pairs that agree with the other clients, less those that do not or were cut; in 1/65536 pair
    compared: int = 0  # pairs that could be compared, or were cut; both are known when the round closes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """All that was learnt from the commits so far, as it stood when the round opened."""

    scalars: Integers  # int64[BUCKETS]: how many |g| were in each bucket
    norms: Integers  # the same of norms
    examples: Integers  # the same of examples
    suspicion: Mapping[str, int]  # by client, above zero, in 1/65536 pair
    quarantined: Mapping[str, int]  # by client: the version that excluded it first
    bounds: Bounds | None = None  # of the open round; without them it only measures


def nothing_learnt() -> Statistics:
    """What is known before the first round."""
    empty = histogram(np.zeros(0, np.int64))
    return Statistics(scalars=empty, norms=empty, examples=empty, suspicion={}, quarantined={})


def buckets(values: Integers) -> Integers:
    """The bucket of each value: 0 to 63 have their own, then each power of two has 32."""
    _, lengths = np.frexp(values.astype(np.float64))  # exact below 2^53: the length in bits
    shifts = np.maximum(lengths - 6, 0)
    return np.asarray(_STEPS * shifts + (values >> shifts), np.int64)


def histogram(values: Integers) -> Integers:
    """Count values, each at least 0 and below 2^53: int64[BUCKETS]."""
    counts = np.bincount(buckets(values), minlength=BUCKETS).astype(np.int64)
    counts.setflags(write=False)
    return counts


def median(counts: Integers) -> int:
    """The largest value of the bucket that holds the middle one, the lower of two; 0 of nothing."""
    total = int(counts.sum())
    if not total:
        return 0
    bucket = int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))
    shift = max(bucket // _STEPS - 1, 0)
    return ((bucket - _STEPS * shift + 1) << shift) - 1
