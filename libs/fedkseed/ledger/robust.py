"""What a commit teaches robust folding, and what the next round may count: pure functions of integers.

A client is suspected by a cumulative sum (Page 1954): with every update it grows by what the update's agreement with the other
clients of its round lacks to `allowance` a pair, and never falls below zero. Updates that were measured on the same gradient
agree; constant or random ones agree as much as they disagree, flipped ones disagree.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from fedkseed.federation import Robust
from fedkseed.ledger.agreement import judged
from fedkseed.ledger.head import Member, Pending
from fedkseed.ledger.statistics import (
    MEMORY,
    PAIR,
    Bounds,
    Integers,
    Statistics,
    histogram,
    median,
    nothing_learnt,
)

MAX_SUSPECTS = 16384
LARGEST = (1 << 53) - 1  # any bound above it cuts nothing


def opened(known: Statistics | None, policy: Robust | None) -> Statistics | None:
    """The statistics of a round that opens, with its bounds; None where folding is not robust."""
    if policy is None:
        return None
    statistics = known or nothing_learnt()
    return replace(statistics, bounds=_bounds(statistics, policy))


def _bounds(statistics: Statistics, policy: Robust) -> Bounds | None:
    if not statistics.norms.any():
        return None
    factors = (policy.clip, policy.norm, policy.weight)
    counts = (statistics.scalars, statistics.norms, statistics.examples)
    scalar, norm, examples = (
        min(max(1, round(factor * median(count))), LARGEST) for factor, count in zip(factors, counts, strict=True)
    )
    return Bounds(scalar=scalar, norm=norm, examples=examples)


def learn(known: Statistics, pending: Pending, policy: Robust, version: int) -> tuple[Statistics, tuple[Member, ...]]:
    """The statistics after a round, and its members with their agreement.

    A round that had no bounds, because nothing was known when it opened, is judged by those that it gives itself.

    Args:
        known: as they stood when it opened.
        pending: what it folded.
        policy: by which clients are excluded.
        version: that the round makes.
    """
    counted = _counted(known, pending)
    bounds = known.bounds or _bounds(counted, policy)
    members = judged(pending, bounds) if bounds else pending.members
    suspicion = _suspicion(known.suspicion, members, policy)
    limit = policy.quarantine * PAIR
    excluded = {client: version for client, value in suspicion.items() if value >= limit}
    statistics = replace(
        counted,
        suspicion={client: value for client, value in suspicion.items() if client not in excluded},
        quarantined={**excluded, **known.quarantined},
    )
    return statistics, members


def _counted(known: Statistics, pending: Pending) -> Statistics:
    """The statistics with the sizes of a round's updates, as they came."""
    evidence = [member.evidence for member in pending.members if member.evidence]
    norms = histogram(np.array([each.norm for each in evidence], np.int64))
    examples = histogram(np.array([each.examples for each in evidence], np.int64))
    halvings = _halvings(int(known.norms.sum() + norms.sum()))
    return replace(
        known,
        scalars=_kept(known.scalars + pending.scalars, halvings),
        norms=_kept(known.norms + norms, halvings),
        examples=_kept(known.examples + examples, halvings),
    )


def lift(known: Statistics, client: str) -> Statistics:
    """The statistics without a client's quarantine and suspicion."""
    suspicion, quarantined = dict(known.suspicion), dict(known.quarantined)
    suspicion.pop(client, None)
    quarantined.pop(client, None)
    return replace(known, suspicion=suspicion, quarantined=quarantined)


def _halvings(updates: int) -> int:
    """How often counts are halved, so that at most MEMORY updates are remembered."""
    halvings = 0
    while updates >> halvings > MEMORY:
        halvings += 1
    return halvings


def _kept(values: Integers, halvings: int) -> Integers:
    values = values >> halvings
    values.setflags(write=False)
    return values


def _suspicion(known: Mapping[str, int], members: Iterable[Member], policy: Robust) -> dict[str, int]:
    """Cumulative sums after a round, of the MAX_SUSPECTS largest above zero; all evidence of a client counts at once."""
    allowance, lacking = round(PAIR * policy.allowance), dict[str, int]()
    for member in members:
        if each := member.evidence:
            lacking[member.client] = lacking.get(member.client, 0) + allowance * each.compared - each.agreement
    sums = {**known, **{client: known.get(client, 0) + lack for client, lack in lacking.items()}}
    above = [(client, value) for client, value in sorted(sums.items()) if value > 0]
    return dict(sorted(heapq.nlargest(MAX_SUSPECTS, above, key=lambda pair: pair[1])))
