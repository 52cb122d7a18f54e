"""How a ledger moves on: the next version, another attempt at the same one, the end.

Every version opens a round whose announcement is fixed then: what follows from the policy is written into it, so that a
new policy rules from the next version on, and the statistics shown are those of the opening. A version that can no
longer be a base is forgotten with its receipts, some versions after the last update that could name it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedkseed.codec import encode
from fedkseed.federation import Policy
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.agreement import without
from fedkseed.ledger.commit import Commit, Kind, step
from fedkseed.ledger.digest import policy_digest, state_digest
from fedkseed.ledger.head import BaseVersion, Head, Member, frozen, nothing_pending
from fedkseed.ledger.invitation import nonce
from fedkseed.ledger.robust import learn
from fedkseed.ledger.robust import opened as robustly
from fedkseed.ledger.statistics import Integers
from fedkseed.messages import STATE_BYTES, Receipt, Round
from fedkseed.packing import pack_integers
from fedkseed.pool.importance import levels, pack

REMEMBERED = 4  # versions whose receipts are kept beyond max_staleness
SCORABLE = 1024  # newest versions whose scores are accepted
MAX_SUM = 1 << 62

Inbox = Mapping[int, Mapping[str, Receipt]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What moving on produced: a head, the log's entry if it is a new version, and second receipts."""

    head: Head
    commit: Commit | None = None
    voided: tuple[Receipt, ...] = ()


def close_round(head: Head, now: float) -> Turn:
    """Commit the pending sums of a round with at least one member; void it where they are too large to be exact.

    What robust folding learns from the round excludes clients from its sums already, unless it only measures.
    """
    head = _learnt(head)
    if head.robust and head.robust.bounds is None:  # nothing was known when it opened: the round only measures
        return advance(head, np.zeros(head.size, np.int64), head.residue, kind="measured", now=now)
    head, excluded = _without_excluded(head)
    pending, pool = head.pending, head.genesis.pool
    made = step(pending, head.coefficients, head.residue, lr=head.round.lr, tick=head.genesis.tick, family=pool.family)
    if made is None:
        told, receipts = void_members(head, "the round was voided: its sums are too large to be exact")
        turn = advance(told, np.zeros(head.size, np.int64), head.residue, kind="voided", now=now)
        return replace(turn, voided=(*excluded, *receipts))
    counted = replace(
        head,
        importance_sums=added(head.importance_sums, pending.importance_sums),
        importance_counts=added(head.importance_counts, pending.importance_counts),
    )
    return replace(advance(counted, made.delta, made.residue, kind="round", now=now), voided=excluded)


def _learnt(head: Head) -> Head:
    """A head that knows what its open round teaches robust folding, and how far its members agree."""
    known, policy = head.robust, head.policy.robust
    if not (known and policy):
        return head
    statistics, members = learn(known, head.pending, policy, head.version + 1)
    return replace(head, robust=statistics, pending=replace(head.pending, members=members))


def _without_excluded(head: Head) -> tuple[Head, tuple[Receipt, ...]]:
    """A head without the members that the very round excludes, and their second receipts."""
    if not (known := head.robust) or not known.bounds:
        return head, ()
    version = head.version + 1
    clients = {member.client for member in head.pending.members if known.quarantined.get(member.client) == version}
    if not clients:
        return head, ()
    members = tuple(member for member in head.pending.members if member.client in clients)
    told, receipts = void_members(head, f"excluded by version {version}: its updates disagree with those of others", members)
    return replace(told, pending=without(head.pending, clients, known.bounds)), receipts


def advance(
    head: Head,
    delta: Integers,
    residue: Integers,
    *,
    kind: Kind,
    now: float,
    to: int | None = None,
    forgotten: str = "",
) -> Turn:
    """Make the next version: coefficients + delta, what is pending recorded as its members, and its round opened.

    A rollback says where it went back to, a forget whom it forgot. Training is over when the policy's number of versions is
    reached; an ended federation stays so.
    """
    excluded = head.robust.quarantined if head.robust else {}
    version, coefficients, packed = head.version + 1, frozen(head.coefficients + delta), pack_integers(delta)
    state = state_digest(genesis_digest(head.genesis_bytes), version, coefficients)
    over = head.state == "closed" or version >= (head.policy.rounds.total or np.inf)
    opened = opening(
        head.genesis,
        head.policy,
        version,
        state,
        importance_sums=head.importance_sums,
        importance_counts=head.importance_counts,
        delta=packed,
        last=over,
        now=now,
    )
    commit = Commit(
        version=version,
        kind=kind,
        delta=packed,
        members=head.pending.members,
        weight=head.pending.weight,
        lr=head.round.lr,
        policy_digest=policy_digest(head.policy),
        round=encode(opened),
        state=state,
        closed_at=now,
        to=to,
        forgotten=forgotten,
        bounds=head.robust.bounds if head.robust else None,
        quarantined=tuple(sorted(client for client, since in excluded.items() if since == version)),
    )
    oldest = version - head.policy.rounds.max_staleness - REMEMBERED
    moved = replace(
        head,
        version=version,
        revision=head.revision + 1,
        state="closed" if over else head.state,
        coefficients=coefficients,
        residue=frozen(residue),
        pending=nothing_pending(head.size),
        robust=robustly(head.robust, head.policy.robust),
        window={base: kept for base, kept in head.window.items() if base >= oldest} | {version: remembered(state, opened)},
        inbox={base: kept for base, kept in head.inbox.items() if base >= oldest} | {version: {}},
        states={scored: kept for scored, kept in head.states.items() if scored > version - SCORABLE} | {version: state},
        round=opened,
    )
    return Turn(head=moved, commit=commit)


def announce_again(head: Head, now: float, *, last: bool = False) -> Head:
    """Open another attempt at the same version: a new nonce, a new deadline, the same hyper-parameters."""
    attempt = head.round.attempt + 1
    again = replace(
        head.round,
        attempt=attempt,
        nonce=nonce(head.digest, attempt),
        opened=now,
        deadline=now + head.policy.rounds.deadline_seconds,
        last=last,
    )
    base = replace(head.window[head.version], attempts=attempt + 1)
    return replace(head, revision=head.revision + 1, round=again, window={**head.window, head.version: base})


def end(head: Head, now: float) -> Turn:
    """End training: the version that stands is the last one, what is pending is not counted."""
    told, receipts = void_members(head, "training ended before the round closed")
    ended = replace(told, state="closed", pending=nothing_pending(head.size))
    return Turn(head=announce_again(ended, now, last=True), voided=receipts)


def void_members(head: Head, reason: str, members: Sequence[Member] | None = None) -> tuple[Head, tuple[Receipt, ...]]:
    """Give members of the open round, all unless they are named, second receipts: the answers to their updates from now on."""
    receipts = tuple(
        Receipt(
            federation=head.genesis.federation,
            client=member.client,
            base=member.base,
            outcome="voided",
            staleness=member.staleness,
            weight=0,
            version=head.version,
            reason=reason,
        )
        for member in (head.pending.members if members is None else members)
    )
    return replace(head, inbox=filed(head.inbox, receipts)), receipts


def filed(inbox: Inbox, receipts: tuple[Receipt, ...]) -> Inbox:
    """An inbox with these receipts as the answers to their identities; those of forgotten bases are left out."""
    touched = {base: dict(inbox[base]) for base in {receipt.base for receipt in receipts} if base in inbox}
    for receipt in receipts:
        if receipt.base in touched:
            touched[receipt.base][receipt.client] = receipt
    return {**inbox, **touched}


def opening(
    genesis: Genesis,
    policy: Policy,
    version: int,
    state: bytes,
    *,
    importance_sums: Integers,
    importance_counts: Integers,
    now: float,
    delta: bytes | None = None,
    last: bool = False,
) -> Round:
    """Return the announcement of a version's first attempt, with the statistics as they stand now."""
    return Round(
        federation=genesis.federation,
        version=version,
        attempt=0,
        state=state[:STATE_BYTES],
        opened=now,
        deadline=now + policy.rounds.deadline_seconds,
        last=last,
        steps=policy.training.steps,
        eps=policy.training.eps,
        lr=policy.training.lr,
        batch=policy.training.batch,
        participation=policy.rounds.participation,
        nonce=nonce(state, 0),
        delta=delta,
        importance=pack(levels(importance_sums, importance_counts)) if policy.training.importance else None,
        max_staleness=policy.rounds.max_staleness,
        directions_per_batch=policy.training.directions_per_batch,
    )


def remembered(state: bytes, opened: Round) -> BaseVersion:
    """Return what judging updates takes of a version that opens."""
    return BaseVersion(state=state, steps=opened.steps, participation=opened.participation, attempts=opened.attempt + 1)


def added(total: Integers, pending: Integers) -> Integers:
    """Add statistics; a sum stays at 2^62 instead of overflowing."""
    return frozen(np.minimum(total, MAX_SUM - pending) + pending)
