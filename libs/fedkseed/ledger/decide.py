"""What becomes of an update, decided purely, in a fixed order.

federation, identity, floor and age (`stale`), `ahead`, state digest (`mismatch`), invitation (`uninvited`), values
(`invalid`). The identity of an update is (client, base). The inbox holds the final receipts of identities whose base is
in the window: `folded`, `discounted`, `voided`, `stale`, `invalid`. Refusals that a later, honest update of the same
identity can overcome are not final and are decided anew each time: `ahead` (the head may get there), `mismatch` (of the
federation or of the state: the client may repair its copy), `uninvited` (a later attempt may invite). Nothing is kept
about bases outside the window, so that made-up bases cost no memory; a base that left the window is refused for good,
even when a new policy allows more staleness, because the inbox no longer knows who was counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedkseed.ledger.head import BaseVersion, Head, Integers
from fedkseed.ledger.invitation import invited, nonce
from fedkseed.ledger.staleness import ONE
from fedkseed.messages import STATE_BYTES, Outcome, Receipt, Update
from fedkseed.pool.importance import CLIP

MAX_GRADIENT = 32768.0
MAX_EXAMPLES = 4096  # more do not weigh more
FULL_WEIGHT = 256  # of one example at no staleness
MAX_CONTRIBUTION = 1 << 58  # of one update to one seed
FIXED_POINT = 65536.0
TOGETHER = 64  # updates tallied at once; many more bring little, and the largest would take much memory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """The pairs of an update summed per seed, unweighted; exact, because every partial sum is at most 2^47."""

    seeds: NDArray[np.intp]  # seed indices that occur, once each, ascending
    sums: Integers  # of round(g * 2^16)
    importance: Integers  # of round(|clip(g, +-1000)| * 2^16)
    counts: Integers  # pairs
    largest: int  # of |sums|; 0 without pairs
    largest_importance: int
    bounded: bool  # every scalar is finite and at most MAX_GRADIENT; one that is not adds nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """The update counts."""

    omega: int  # its weight
    staleness: int
    outcome: Outcome  # folded, or discounted when its staleness costs it weight
    tally: Tally = field(compare=False, repr=False)  # what it adds


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The update does not count."""

    outcome: Outcome
    reason: str

    @property
    def final(self) -> bool:
        """Whether no later update of the same identity can fare better."""
        return self.outcome in ("stale", "invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The update was decided before."""

    receipt: Receipt


def decide(head: Head, update: Update, tally: Tally | None = None) -> Fold | Refusal | Duplicate:
    """Decide one update against a head; its tally is made here unless that was done in bulk."""
    if update.federation != head.genesis.federation:
        return Refusal(outcome="mismatch", reason=f"this is federation {head.genesis.federation}")
    if receipt := head.inbox.get(update.base, {}).get(update.client):
        return Duplicate(receipt=receipt)
    if refusal := _untimely(head, update.base):
        return refusal
    base = head.window[update.base]
    if update.state != base.state[:STATE_BYTES]:
        return Refusal(outcome="mismatch", reason=f"state digest is not that of version {update.base}")
    if not _invited(update.client, base):
        return Refusal(outcome="uninvited", reason=f"not invited to version {update.base}")
    return _weigh(head, update, base, tally or next(tallies((update,))))


def _untimely(head: Head, base: int) -> Refusal | None:
    """Judge an update by its base version alone."""
    staleness = head.version - base
    if head.state == "closed":
        return Refusal(outcome="stale", reason="training is over")
    if base < head.floor:
        return Refusal(outcome="stale", reason=f"version {base} was abandoned by the rollback at version {head.floor}")
    if staleness >= len(head.discounts):
        return Refusal(outcome="stale", reason=f"staleness {staleness} is above {len(head.discounts) - 1}")
    if staleness < 0:
        return Refusal(outcome="ahead", reason=f"the head is version {head.version}")
    if base not in head.window:
        return Refusal(outcome="stale", reason=f"version {base} is no longer remembered")
    return None


def _invited(client: str, base: BaseVersion) -> bool:
    """Whether an attempt at a version invited a client; at full participation nobody need be asked."""
    if base.participation >= 1:
        return True
    nonces = (nonce(base.state, attempt) for attempt in range(base.attempts))
    return any(invited(drawn, client, base.participation) for drawn in nonces)


def _weigh(head: Head, update: Update, base: BaseVersion, tally: Tally) -> Fold | Refusal:
    """Check the values of a timely update and weigh it: omega = max(1, round(256 * s * min(n, 4096)))."""
    if refusal := _malformed(head, update, base, tally):
        return refusal
    staleness = head.version - update.base
    discount = head.discounts[staleness]
    omega = max(1, round(FULL_WEIGHT * (discount / ONE) * min(update.n, MAX_EXAMPLES)))
    if tally.largest * omega >= MAX_CONTRIBUTION:
        return Refusal(outcome="invalid", reason="the contribution to one seed is 2^58 or more")
    return Fold(omega=omega, staleness=staleness, outcome="folded" if discount == ONE else "discounted", tally=tally)


def _malformed(head: Head, update: Update, base: BaseVersion, tally: Tally) -> Refusal | None:
    """Judge the values of an update one by one."""
    fault = ""
    if update.n < 1:
        fault = "n is below 1"
    elif not _paired(update):
        fault = f"{len(update.k) / 2:g} seed indices with {len(update.g) / 2:g} scalars"
    elif len(update.k) > 2 * base.steps:
        fault = f"{len(update.k) // 2} pairs, more than {base.steps} steps"
    elif len(tally.seeds) and tally.seeds[-1] >= head.size:
        fault = f"a seed index is {head.size} or more"
    elif not tally.bounded:
        fault = f"a scalar is not finite or above {MAX_GRADIENT:g}"
    return Refusal(outcome="invalid", reason=fault) if fault else None


def _paired(update: Update) -> bool:
    """Whether there is a scalar for each seed index."""
    return len(update.k) == len(update.g) and len(update.k) % 2 == 0


def tallies(updates: Sequence[Update]) -> Iterator[Tally]:
    """Sum the pairs of updates per seed, many updates at once; one that is not made of pairs has none."""
    for first in range(0, len(updates), TOGETHER):
        yield from _tallies(updates[first : first + TOGETHER])


def _tallies(updates: Sequence[Update]) -> Iterator[Tally]:
    paired = [update if _paired(update) else replace(update, k=b"", g=b"") for update in updates]
    seeds = np.frombuffer(b"".join(update.k for update in paired), "<u2")
    gradients = np.frombuffer(b"".join(update.g for update in paired), "<f2").astype(np.float64)
    owners = np.arange(len(paired), dtype=np.min_scalar_type(len(paired)))
    owner = np.repeat(owners, [len(update.k) // 2 for update in paired])
    order = np.argsort(seeds, kind="stable")  # linear, as integers have 16 bits: by seed, then by update
    order = order[np.argsort(owner[order], kind="stable")]
    seeds, gradients, owner = seeds[order], gradients[order], owner[order]
    first = np.ones(len(order), np.bool_)  # whether a pair is the first one of its update and seed
    first[1:] = (seeds[1:] != seeds[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(first)
    bounded = np.abs(gradients) <= MAX_GRADIENT  # false for what is not a number
    unbounded = set(owner[~bounded].tolist())
    gradients = np.where(bounded, gradients, 0.0)
    sums = np.add.reduceat(_fixed(gradients), starts)
    importance = np.add.reduceat(_fixed(np.minimum(np.abs(gradients), CLIP)), starts)
    counts = np.diff(starts, append=len(order))
    seeds, ends = seeds[starts].astype(np.intp), np.searchsorted(owner[starts], owners, side="right")
    slices = list(pairwise((0, *ends.tolist())))
    largest, largest_importance = (_maxima(values, slices) for values in (np.abs(sums), importance))
    for i, (start, end) in enumerate(slices):
        yield Tally(
            seeds=seeds[start:end],
            sums=sums[start:end],
            importance=importance[start:end],
            counts=counts[start:end],
            largest=largest[i],
            largest_importance=largest_importance[i],
            bounded=i not in unbounded,
        )


def _maxima(values: Integers, slices: Sequence[tuple[int, int]]) -> list[int]:
    """The largest value of each slice, none of them negative; 0 of an empty one."""
    maxima = np.maximum.reduceat(np.append(values, 0), [start for start, _ in slices])
    return [0 if start == end else value for (start, end), value in zip(slices, maxima.tolist(), strict=True)]


def _fixed(values: NDArray[np.float64]) -> Integers:
    """In fixed point, rounded half to even."""
    return np.rint(values * FIXED_POINT).astype(np.int64)
