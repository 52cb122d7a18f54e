"""What becomes of an update, decided purely, in a fixed order.

federation, identity, floor and age (`stale`), `ahead`, state digest (`mismatch`), invitation (`uninvited`), `quarantined`,
values (`invalid`). The identity of an update is (client, base). The inbox holds the final receipts of identities whose base is
in the window: `folded`, `discounted`, `voided`, `stale`, `invalid`. Refusals that a later, honest update of the same
identity can overcome are not final and are decided anew each time: `ahead` (the head may get there), `mismatch` (of the
federation or of the state: the client may repair its copy), `uninvited` (a later attempt may invite), `quarantined` (it may be
lifted). Nothing is kept
about bases outside the window, so that made-up bases cost no memory; a base that left the window is refused for good,
even when a new policy allows more staleness, because the inbox no longer knows who was counted.
"""

from dataclasses import dataclass, field

from fedkseed.ledger.head import BaseVersion, Head
from fedkseed.ledger.invitation import invited, nonce
from fedkseed.ledger.screen import cut, length
from fedkseed.ledger.staleness import ONE
from fedkseed.ledger.statistics import Evidence
from fedkseed.ledger.tally import FULL_WEIGHT, MAX_GRADIENT, Tally, made_of_pairs, tallies
from fedkseed.messages import STATE_BYTES, Outcome, Receipt, Update

MAX_EXAMPLES = 4096  # more do not weigh more
MAX_CONTRIBUTION = 1 << 58  # of one update to one seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """The update counts."""

    omega: int  # its weight
    staleness: int
    outcome: Outcome  # folded, or discounted when its staleness costs it weight
    tally: Tally = field(compare=False, repr=False)  # what it adds
    evidence: Evidence | None = None  # for robust folding


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
    """Decide one update against a head; its tally, summed or not, is made here unless that was done in bulk."""
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
    if head.robust and (since := head.robust.quarantined.get(update.client)) is not None:
        return Refusal(outcome="quarantined", reason=f"excluded by version {since}: its updates disagree with those of others")
    return _weigh(head, update, base, tally or next(tallies((update,))))


def _untimely(head: Head, base: int) -> Refusal | None:
    """Judge an update by its base version alone."""
    staleness = head.version - base
    if head.state == "closed":
        return Refusal(outcome="stale", reason="training is over")
    if base < head.floor:
        return Refusal(outcome="stale", reason=f"version {base} was abandoned by {_cut(head)} at version {head.floor}")
    if staleness >= len(head.discounts):
        return Refusal(outcome="stale", reason=f"staleness {staleness} is above {len(head.discounts) - 1}")
    if staleness < 0:
        return Refusal(outcome="ahead", reason=f"the head is version {head.version}")
    if base not in head.window:
        return Refusal(outcome="stale", reason=f"version {base} is no longer remembered")
    return None


def _cut(head: Head) -> str:
    """What raised the floor."""
    return "forgetting a client" if head.forgot == head.floor else "the rollback"


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
    discount, examples, evidence = head.discounts[staleness], min(update.n, MAX_EXAMPLES), None
    if head.robust:
        tally = _summed(update, tally)
        evidence = Evidence(norm=length(tally.sums), examples=examples)
        if bounds := head.robust.bounds:
            tally, examples = cut(tally, bounds)[0], min(examples, bounds.examples)
    omega = max(1, round(FULL_WEIGHT * (discount / ONE) * examples))
    if tally.largest * omega >= MAX_CONTRIBUTION and _summed(update, tally).largest * omega >= MAX_CONTRIBUTION:
        return Refusal(outcome="invalid", reason="the contribution to one seed is 2^58 or more")
    outcome: Outcome = "folded" if discount == ONE else "discounted"
    return Fold(omega=omega, staleness=staleness, outcome=outcome, tally=tally, evidence=evidence)


def _summed(update: Update, tally: Tally) -> Tally:
    """The tally with sums per seed, where it has none."""
    return tally if tally.summed else next(tallies((update,)))


def _malformed(head: Head, update: Update, base: BaseVersion, tally: Tally) -> Refusal | None:
    """Judge the values of an update one by one."""
    fault = ""
    if update.n < 1:
        fault = "n is below 1"
    elif not made_of_pairs(update):
        fault = f"{len(update.k) / 2:g} seed indices with {len(update.g) / 2:g} scalars"
    elif len(update.k) > 2 * base.steps:
        fault = f"{len(update.k) // 2} pairs, more than {base.steps} steps"
    elif tally.highest >= head.size:
        fault = f"a seed index is {head.size} or more"
    elif not tally.bounded:
        fault = f"a scalar is not finite or above {MAX_GRADIENT:g}"
    return Refusal(outcome="invalid", reason=fault) if fault else None
