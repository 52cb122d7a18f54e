"""What an operator can do to a ledger: pause, resume, end, set a policy, roll back. Pure changes of its head, as in `fold`.

History is never rewritten: rolling back is one more version. Whatever stops being counted is told to its members.
"""

from dataclasses import replace

import numpy as np

from fedkseed.errors import LedgerError, UnknownVersion
from fedkseed.federation import Policy
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.fold import Folded, told
from fedkseed.ledger.head import Head, nothing_pending
from fedkseed.ledger.robust import lift
from fedkseed.ledger.rounds import Turn, advance, announce_again, close_round, end, void_members
from fedkseed.ledger.staleness import table
from fedkseed.ledger.statistics import Integers


def roll_back(head: Head, coefficients: Integers, to: int, now: float) -> tuple[Head, Folded]:
    """Make a next version that equals version `to`: history is kept, and everything measured since is refused.

    Pending sums are discarded (their members get second receipts), the floor is raised to the new version, and the
    residue starts from zero.

    Args:
        head: the newest head.
        coefficients: int64[K] of version `to`, as `log.replay` gives them.
        to: a version of this ledger.
        now: unix seconds.

    Raises:
        UnknownVersion: `to` is not a version of this ledger.
        LedgerError: `to` holds what was forgotten since; or the coefficients are not those of that version, as far as its
            digest is remembered.
    """
    if not 0 <= to <= head.version:
        raise UnknownVersion(f"version {to} is not in a ledger at version {head.version}")
    if to < head.forgot:
        raise LedgerError(f"version {to} holds what was forgotten at version {head.forgot}; later ones do not")
    if coefficients.shape != head.coefficients.shape:
        raise LedgerError(f"{coefficients.size} coefficients for a pool of {head.size}")
    state = state_digest(genesis_digest(head.genesis_bytes), to, coefficients)
    if state != head.states.get(to, state):
        raise LedgerError(f"the coefficients are not those of version {to}: its state digest is another")
    warned, receipts = void_members(head, f"rolled back to version {to}")
    cut = replace(warned, floor=head.version + 1, pending=nothing_pending(head.size))
    turn = advance(cut, coefficients - head.coefficients, np.zeros(head.size, np.int64), kind="rollback", now=now, to=to)
    return told(replace(turn, voided=receipts))


def pause(head: Head, now: float) -> tuple[Head, Folded]:
    """Stop closing rounds; updates are still folded into the open one."""
    del now  # every change of a head is called with the store's time
    return replace(head, state="paused", revision=head.revision + 1) if head.state == "open" else head, Folded()


def resume(head: Head, now: float) -> tuple[Head, Folded]:
    """Close rounds again: at once where the cohort was reached meanwhile, else with a new attempt and deadline."""
    if head.state != "paused":
        return head, Folded()
    opened = replace(head, state="open", revision=head.revision + 1)
    if len(head.pending.members) >= head.policy.rounds.cohort:
        return told(close_round(opened, now))
    return told(Turn(head=announce_again(opened, now)))


def finish(head: Head, now: float) -> tuple[Head, Folded]:
    """End training: the version that stands is announced again as the last one."""
    return (head, Folded()) if head.state == "closed" else told(end(head, now))


def readmit(head: Head, client: str, now: float) -> tuple[Head, Folded]:
    """Lift the quarantine of a client, with all suspicion; what it sends from now on counts.

    Raises:
        LedgerError: the client is not quarantined.
    """
    del now
    if head.robust is None or client not in head.robust.quarantined:
        raise LedgerError(f"client {client} is not quarantined")
    return replace(head, revision=head.revision + 1, robust=lift(head.robust, client)), Folded()


def set_policy(head: Head, policy: Policy, now: float) -> tuple[Head, Folded]:
    """Set a new policy.

    Cohort, minimum, staleness and the end of training follow it from now on; what the open round has announced (steps,
    eps, lr, batch, participation) stays as it is until the next one, as does robust folding.
    """
    changed = replace(head, revision=head.revision + 1, policy=policy, discounts=table(policy.rounds))
    if head.state == "closed":
        return changed, Folded()
    if head.version >= (policy.rounds.total or np.inf):
        return told(end(changed, now))
    if head.state == "open" and len(head.pending.members) >= policy.rounds.cohort:
        return told(close_round(changed, now))
    return changed, Folded()
