"""The pairs of updates as integers, many updates at once, because that is most of the work of folding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedkseed.ledger.head import Pairs
from fedkseed.ledger.statistics import Integers
from fedkseed.messages import Update
from fedkseed.pool.importance import CLIP

MAX_GRADIENT = 32768.0
FIXED_POINT = 65536.0
IMPORTANCE_CLIP = round(CLIP * FIXED_POINT)
FULL_WEIGHT = 256  # of one example at no staleness
TOGETHER = 64  # updates tallied at once; many more bring little, and the largest would take much memory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """What the pairs of an update add, unweighted: summed per seed, or each pair for itself.

    Exact, because every partial sum is at most 2^47.
    """

    seeds: NDArray[np.intp]  # seed indices: those that occur, once each and ascending; or that of each pair
    sums: Integers  # of round(g * 2^16)
    importance: Integers  # of round(|clip(g, +-1000)| * 2^16)
    counts: Integers  # pairs
    pairs: Integers  # round(g * 2^16) of each pair, in the order of the seeds
    highest: int  # of the seeds; 0 without pairs
    largest: int  # |sum| of a seed, where they are summed; else what none can exceed; 0 without pairs
    largest_importance: int  # the same
    bounded: bool  # every scalar is finite and at most MAX_GRADIENT; one that is not adds nothing
    summed: bool

    def of(self, sums: Integers, importance: Integers) -> "Tally":
        """The same pairs, counting for something else."""
        largest, largest_importance = (int(np.abs(values).max(initial=0)) for values in (sums, importance))
        return replace(self, sums=sums, importance=importance, largest=largest, largest_importance=largest_importance)


def made_of_pairs(update: Update) -> bool:
    """Whether there is a scalar for each seed index."""
    return len(update.k) == len(update.g) and len(update.k) % 2 == 0


def tallies(updates: Sequence[Update], *, summed: bool = True) -> Iterator[Tally]:
    """Read the pairs of updates, many updates at once; one that is not made of pairs has none.

    Args:
        updates: of anybody.
        summed: per seed, which is most of the work, and which few decisions need.
    """
    return of_pairs([(update.k, update.g) if made_of_pairs(update) else (b"", b"") for update in updates], summed=summed)


def of_pairs(pairs: Sequence[Pairs], *, summed: bool = True) -> Iterator[Tally]:
    """The same for pairs alone."""
    read = _summed if summed else _apart
    for first in range(0, len(pairs), TOGETHER):
        yield from read(pairs[first : first + TOGETHER])


def _apart(pairs_of: Sequence[Pairs]) -> Iterator[Tally]:
    """Each pair for itself; no sum of theirs is larger than that of all."""
    seeds, pairs, bounded = _numbers(pairs_of)
    edges = np.cumsum([0, *(len(k) // 2 for k, _ in pairs_of)])
    slices = list(pairwise(edges.tolist()))
    unbounded = set((np.searchsorted(edges, np.flatnonzero(~bounded), side="right") - 1).tolist())
    totals = np.diff(np.append(0, np.cumsum(np.abs(pairs)))[edges]).tolist()
    highest = _maxima(seeds, slices)
    importance, ones, indices = np.minimum(np.abs(pairs), IMPORTANCE_CLIP), np.ones(len(pairs), np.int64), seeds.astype(np.intp)
    for i, (start, end) in enumerate(slices):
        yield Tally(
            seeds=indices[start:end],
            sums=pairs[start:end],
            importance=importance[start:end],
            counts=ones[start:end],
            pairs=pairs[start:end],
            highest=highest[i],
            largest=totals[i],
            largest_importance=totals[i],
            bounded=i not in unbounded,
            summed=False,
        )


def _summed(pairs_of: Sequence[Pairs]) -> Iterator[Tally]:
    seeds, pairs, bounded = _numbers(pairs_of)
    owners = np.arange(len(pairs_of), dtype=np.min_scalar_type(len(pairs_of)))
    owner = np.repeat(owners, [len(k) // 2 for k, _ in pairs_of])
    unbounded = set(owner[~bounded].tolist())
    order = np.argsort(seeds, kind="stable")  # linear, as integers have 16 bits: by seed, then by update
    order = order[np.argsort(owner[order], kind="stable")]
    seeds, pairs, owner = seeds[order], pairs[order], owner[order]
    first = np.ones(len(order), np.bool_)  # whether a pair is the first one of its update and seed
    first[1:] = (seeds[1:] != seeds[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(first)
    sums = np.add.reduceat(pairs, starts)
    importance = np.add.reduceat(np.minimum(np.abs(pairs), IMPORTANCE_CLIP), starts)
    counts = np.diff(starts, append=len(order))
    found, ends = seeds[starts].astype(np.intp), np.searchsorted(owner[starts], owners, side="right")
    edges = np.append(0, ends)
    slices = list(pairwise(edges.tolist()))
    own = list(pairwise(np.append(starts, len(order))[edges].tolist()))  # slices of the pairs
    highest, largest, largest_importance = (_maxima(values, slices) for values in (found, np.abs(sums), importance))
    for i, ((start, end), (first_pair, end_pair)) in enumerate(zip(slices, own, strict=True)):
        yield Tally(
            seeds=found[start:end],
            sums=sums[start:end],
            importance=importance[start:end],
            counts=counts[start:end],
            pairs=pairs[first_pair:end_pair],
            highest=highest[i],
            largest=largest[i],
            largest_importance=largest_importance[i],
            bounded=i not in unbounded,
            summed=True,
        )


def _numbers(pairs_of: Sequence[Pairs]) -> tuple[NDArray[np.uint16], Integers, NDArray[np.bool_]]:
    """Seed and round(g * 2^16) of each pair, one update after the other, and whether its scalar is within bounds."""
    seeds = np.frombuffer(b"".join(k for k, _ in pairs_of), "<u2")
    gradients = np.frombuffer(b"".join(g for _, g in pairs_of), "<f2").astype(np.float64)
    bounded = np.abs(gradients) <= MAX_GRADIENT  # false for what is not a number
    return seeds, _fixed(np.where(bounded, gradients, 0.0)), bounded


def _maxima(values: Integers | NDArray[np.uint16], slices: Sequence[tuple[int, int]]) -> list[int]:
    """The largest value of each slice, none of them negative; 0 of an empty one."""
    maxima = np.maximum.reduceat(np.append(values, 0), [start for start, _ in slices])
    return [0 if start == end else value for (start, end), value in zip(slices, maxima.tolist(), strict=True)]


def _fixed(values: NDArray[np.float64]) -> Integers:
    """In fixed point, rounded half to even."""
    return np.rint(values * FIXED_POINT).astype(np.int64)
