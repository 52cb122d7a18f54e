"""Forgetting a client: the ledger as it would be had the client's updates never counted, as one more version.

The replay goes through the log from version 0 with the same rounds, members, weights, bounds and learning rates, and takes the
pairs of each member from the archive:

- `round`: the same arithmetic as when it was closed, without the members that are forgotten. A round that has no other
  member changes nothing, nor does one whose sums would be too large.
- `measured`, `voided`: nothing.
- `rollback`: the coefficients of the version it went back to, as replayed; the residue starts from zero.
- `forget`: nothing of itself; from there on its client's members *before* it are left out of every replay.

So forgetting composes: with rollbacks, voided rounds, other clients, and what a forgotten client sends afterwards. A replay
of what is forgotten so far must give the ledger as it stands, or the archive is refused. Forgetting removes a contribution from
the sums; it does not undo the client's influence on what others measured, nor on medians and suspicion.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedkseed.codec import decode
from fedkseed.errors import ArchiveIncomplete, DecodeError, LedgerError
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.commit import Commit, step
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.fold import Folded, told
from fedkseed.ledger.head import Head, Member, nothing_pending
from fedkseed.ledger.rounds import added, advance, void_members
from fedkseed.ledger.screen import cut
from fedkseed.ledger.statistics import Integers
from fedkseed.ledger.tally import made_of_pairs, tallies
from fedkseed.messages import STATE_BYTES, Update

Identity = tuple[str, int]  # client, base
Archive = Mapping[Identity, Update]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replayed:
    """What a log adds up to."""

    coefficients: Integers  # int64[K], ticks
    residue: Integers  # int64[K], 1/65536 tick
    importance_sums: Integers  # int64[K]
    importance_counts: Integers  # int64[K]


def gathered(bodies: Iterable[bytes], commits: Sequence[Commit], head: Head) -> Archive:
    """Find the updates that a log has counted among everything that came; stops once it has all of them.

    Of several updates with one identity, the first that names the right state is the one that was decided.

    Args:
        bodies: of the archive, in its order.
        commits: the log from version 1 on.
        head: of the ledger.
    """
    origin = state_digest(genesis_digest(head.genesis_bytes), 0, np.zeros(head.size, np.int64))
    states = {0: origin} | {commit.version: commit.state for commit in commits}
    wanted = {(member.client, member.base) for commit in commits for member in _counted(commit)}
    found: dict[Identity, Update] = {}
    for update in map(_update, bodies) if wanted else ():
        if (
            update is None
            or (update.client, update.base) not in wanted
            or not _plausible(update, states[update.base], head.size)
        ):
            continue
        found.setdefault((update.client, update.base), update)
        if len(found) == len(wanted):
            break
    return found


def _update(body: bytes) -> Update | None:
    try:
        message = decode(body)
    except DecodeError:
        return None
    return message if isinstance(message, Update) else None


def _plausible(update: Update, state: bytes, size: int) -> bool:
    return made_of_pairs(update) and bool((update.seed_indices < size).all()) and update.state == state[:STATE_BYTES]


def _counted(commit: Commit) -> tuple[Member, ...]:
    """The members whose updates a version holds."""
    return commit.members if commit.kind == "round" else ()


def replay(commits: Sequence[Commit], archive: Archive, genesis: Genesis, also: str | None = None) -> Replayed:
    """Go through a log, without what was forgotten.

    Args:
        commits: from version 1 on.
        archive: their updates.
        genesis: of the ledger.
        also: one more client, whose every update is left out.

    Raises:
        ArchiveIncomplete: an update is missing, the one of a client that is left out included.
    """
    forgotten = {commit.forgotten: commit.version for commit in commits if commit.forgotten}
    if also is not None:
        forgotten[also] = len(commits) + 1
    zeros = np.zeros(genesis.pool.size, np.int64)
    now = Replayed(coefficients=zeros, residue=zeros, importance_sums=zeros, importance_counts=zeros)
    goals = {commit.to for commit in commits if commit.to is not None}
    kept = {0: zeros}  # coefficients of the versions that rollbacks went to
    for commit in commits:
        if commit.kind == "rollback":
            now = replace(now, coefficients=_goal(commit, kept), residue=zeros)
        elif commit.kind == "round":
            updates = _found(commit, archive)
            members = [member for member in commit.members if commit.version > forgotten.get(member.client, 0)]
            now = _closed(now, commit, members, updates, genesis) if members else now
        if commit.version in goals:
            kept[commit.version] = now.coefficients
    return now


def _goal(commit: Commit, kept: Mapping[int, Integers]) -> Integers:
    if commit.to is None:
        raise ArchiveIncomplete(f"log: version {commit.version} does not say which version it went back to")
    return kept[commit.to]


def _found(commit: Commit, archive: Archive) -> dict[Identity, Update]:
    for member in commit.members:
        if (member.client, member.base) not in archive:
            round_ = f"version {commit.version}"
            raise ArchiveIncomplete(f"archive: the update of {member.client} on version {member.base} is missing, for {round_}")
    return {(member.client, member.base): archive[member.client, member.base] for member in commit.members}


def _closed(
    now: Replayed, commit: Commit, members: Sequence[Member], updates: Mapping[Identity, Update], genesis: Genesis
) -> Replayed:
    """Close a round of these members."""
    sums, importance, counts = (np.zeros(genesis.pool.size, np.int64) for _ in range(3))
    for member, tally in zip(members, tallies([updates[m.client, m.base] for m in members]), strict=True):
        bounded = cut(tally, commit.bounds)[0] if commit.bounds else tally
        sums[tally.seeds] += member.omega * bounded.sums
        importance[tally.seeds] += bounded.importance
        counts[tally.seeds] += tally.counts
    pending = replace(nothing_pending(genesis.pool.size), numerators=sums, weight=sum(member.omega for member in members))
    made = step(pending, now.coefficients, now.residue, lr=commit.lr, tick=genesis.tick, family=genesis.pool.family)
    if made is None:
        return now
    return Replayed(
        coefficients=now.coefficients + made.delta,
        residue=made.residue,
        importance_sums=added(now.importance_sums, importance),
        importance_counts=added(now.importance_counts, counts),
    )


def forget(head: Head, client: str, commits: Sequence[Commit], archive: Archive, now: float) -> tuple[Head, Folded]:
    """Make a next version without all that a client has contributed so far; history is kept.

    As after a rollback, updates of the open round do not count (their members get second receipts), and what was measured
    before is refused. What the client sends from then on counts again.

    Args:
        head: the newest head.
        client: whom to forget.
        commits: the whole log.
        archive: see `gathered`.
        now: unix seconds.

    Raises:
        LedgerError: no version holds an update of the client, or another version was made meanwhile.
        ArchiveIncomplete: the archive does not hold every member of every round, or gives another ledger.
    """
    if len(commits) != head.version:
        raise LedgerError(f"version {head.version} was made meanwhile, try again; `fedkseed pause` keeps rounds from closing")
    before = max((commit.version for commit in commits if commit.forgotten == client), default=0)
    if not any(m.client == client for commit in commits[before:] for m in _counted(commit)):
        raise LedgerError(f"no version holds an update of {client}")
    _check(head, replay(commits, archive, head.genesis))
    without = replay(commits, archive, head.genesis, client)
    warned, receipts = void_members(head, f"client {client} was forgotten")
    cut_off = replace(
        warned,
        floor=head.version + 1,
        forgot=head.version + 1,
        pending=nothing_pending(head.size),
        importance_sums=without.importance_sums,
        importance_counts=without.importance_counts,
    )
    delta = without.coefficients - head.coefficients
    turn = advance(cut_off, delta, without.residue, kind="forget", now=now, forgotten=client)
    return told(replace(turn, voided=receipts))


def _check(head: Head, replayed: Replayed) -> None:
    """Refuse an archive that does not give the ledger as it stands."""
    ours = (head.coefficients, head.residue, head.importance_sums, head.importance_counts)
    theirs = (replayed.coefficients, replayed.residue, replayed.importance_sums, replayed.importance_counts)
    if not all(map(np.array_equal, ours, theirs)):
        raise ArchiveIncomplete(f"archive: its updates do not give version {head.version} as the ledger has it")
