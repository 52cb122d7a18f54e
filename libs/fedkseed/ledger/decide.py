"""What becomes of an update, decided purely, in a fixed order.

federation, identity, floor and age (`stale`), `ahead`, state digest (`mismatch`), invitation (`uninvited`), values
(`invalid`). The identity of an update is (client, base). The inbox holds the final receipts of identities whose base is
in the window: `folded`, `discounted`, `voided`, `stale`, `invalid`. Refusals that a later, honest update of the same
identity can overcome are not final and are decided anew each time: `ahead` (the head may get there), `mismatch` (of the
federation or of the state: the client may repair its copy), `uninvited` (a later attempt may invite). Nothing is kept
about bases outside the window, so that made-up bases cost no memory; a base that left the window is refused for good,
even when a new policy allows more staleness, because the inbox no longer knows who was counted.
"""

from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """The pairs of an update summed per seed, unweighted; exact, because every partial sum is at most 2^47."""

    seeds: NDArray[np.intp]  # seed indices that occur, once each, ascending
    sums: Integers  # of round(g * 2^16)
    importance: Integers  # of round(|clip(g, +-1000)| * 2^16)
    counts: Integers  # pairs


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


def decide(head: Head, update: Update) -> Fold | Refusal | Duplicate:
    """Decide one update against a head."""
    if update.federation != head.genesis.federation:
        return Refusal(outcome="mismatch", reason=f"this is federation {head.genesis.federation}")
    if receipt := head.inbox.get(update.base, {}).get(update.client):
        return Duplicate(receipt=receipt)
    if refusal := _untimely(head, update.base):
        return refusal
    base = head.window[update.base]
    if update.state != base.state[:STATE_BYTES]:
        return Refusal(outcome="mismatch", reason=f"state digest is not that of version {update.base}")
    if not any(invited(nonce(base.state, attempt), update.client, base.participation) for attempt in range(base.attempts)):
        return Refusal(outcome="uninvited", reason=f"not invited to version {update.base}")
    return _weigh(head, update, base)


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


def _weigh(head: Head, update: Update, base: BaseVersion) -> Fold | Refusal:
    """Check the values of a timely update and weigh it: omega = max(1, round(256 * s * min(n, 4096)))."""
    if refusal := _malformed(head, update, base):
        return refusal
    staleness = head.version - update.base
    discount = head.discounts[staleness]
    omega = max(1, round(FULL_WEIGHT * (discount / ONE) * min(update.n, MAX_EXAMPLES)))
    summed = tally(update)
    if int(np.abs(summed.sums).max(initial=0)) * omega >= MAX_CONTRIBUTION:
        return Refusal(outcome="invalid", reason="the contribution to one seed is 2^58 or more")
    return Fold(omega=omega, staleness=staleness, outcome="folded" if discount == ONE else "discounted", tally=summed)


def _malformed(head: Head, update: Update, base: BaseVersion) -> Refusal | None:
    """Judge the values of an update one by one."""
    fault = ""
    if update.n < 1:
        fault = "n is below 1"
    elif len(update.k) != len(update.g) or len(update.k) % 2:
        fault = f"{len(update.k) / 2:g} seed indices with {len(update.g) / 2:g} scalars"
    elif len(update.k) > 2 * base.steps:
        fault = f"{len(update.k) // 2} pairs, more than {base.steps} steps"
    elif (update.seed_indices >= head.size).any():
        fault = f"a seed index is {head.size} or more"
    elif not (np.abs(update.gradients) <= MAX_GRADIENT).all():  # also false for what is not a number
        fault = f"a scalar is not finite or above {MAX_GRADIENT:g}"
    return Refusal(outcome="invalid", reason=fault) if fault else None


def tally(update: Update) -> Tally:
    """Sum the pairs of a valid update per seed."""
    seeds, place, counts = np.unique(update.seed_indices, return_inverse=True, return_counts=True)
    gradients = update.gradients.astype(np.float64)
    magnitudes = np.minimum(np.abs(gradients), CLIP)
    sums, importance = (
        np.bincount(place, weights=np.rint(values * FIXED_POINT), minlength=len(seeds)).astype(np.int64)
        for values in (gradients, magnitudes)
    )
    return Tally(seeds=seeds.astype(np.intp), sums=sums, importance=importance, counts=counts.astype(np.int64))
