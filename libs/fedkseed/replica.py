"""A participant's copy of the ledger: follows announcements, and knows when it needs a snapshot.

- What is held has been verified: its coefficients give the state digest that was announced for its version.
- A round beyond the next version waits; with a gap before it, or nothing held, a snapshot is asked for. Rounds that come
  meanwhile are applied in order once they fit. Of one version the highest attempt counts; what is old is ignored.
- A delta whose result is not what was announced discards the copy: a snapshot replaces it, and it is counted. A snapshot
  that does not verify ends the participant: nothing is ever repaired silently.
- An announcement promises news by its deadline. When none came, or no answer, the replica asks (again).

Everything is pure: a replica in, a replica and effects out.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedkseed.errors import ArtifactAltered, DecodeError, FedkseedError, GenesisMismatch
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.messages import STATE_BYTES, Round, Snapshot, SnapshotRequest
from fedkseed.packing import unpack_integers
from fedkseed.transport.door import Letter, Publish
from fedkseed.transport.topology import to_aggregator

REQUEST = -1  # the token under which requests are published
PATIENCE_SECONDS = 30.0  # for an answer, and for news beyond the deadline of a round
LONGEST_SECONDS = 7 * 24 * 3600.0  # that a round is believed to last: its announcer's clock may be anything
WAITING = 64  # rounds at most that wait for a snapshot, the newest ones


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """One version of the ledger, verified."""

    round: Round  # its newest announcement
    coefficients: NDArray[np.int64]  # shape (K,), ticks, read-only

    @property
    def version(self) -> int:
        """The version that the coefficients are."""
        return self.round.version


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replica:
    """What one participant knows of the ledger."""

    federation: str
    participant: str
    genesis: bytes | None = None  # from the first snapshot, or known before; never changes
    held: Held | None = None
    waiting: tuple[Round, ...] = ()  # announced, but not to be applied yet; ascending, one of each version
    asked: bool = False  # a snapshot is under way
    alarm: int = 0  # the newest wake-up that was asked for; earlier ones are void
    mismatches: int = 0  # copies that were discarded

    @property
    def state(self) -> tuple[int, bytes] | None:
        """The version that is held, and its state digest, 32 bytes."""
        if self.held is None or self.genesis is None:
            return None
        return self.held.version, state_digest(genesis_digest(self.genesis), self.held.version, self.held.coefficients)

    @property
    def incomplete(self) -> bool:
        """Whether there is something to catch up with that only a snapshot can give."""
        return self.held is None or bool(self.waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Effect: feed Woke(alarm) so many seconds from now."""

    after_seconds: float
    alarm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """Event: the time of an alarm has come."""

    alarm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MailArrived:
    """Event: a delivery from the participant's mailbox."""

    tag: int
    content: Round | Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Effect: end the participant with an error; nothing after it is carried out."""

    error: FedkseedError


Followed = tuple[Replica, tuple[Publish | Wake | Fail, ...]]


def begin(replica: Replica) -> Followed:
    """Ask where the ledger stands: on every start, because mailboxes forget."""
    return _ask(replica)


def receive(replica: Replica, content: Round | Snapshot) -> Followed:
    """Take an announcement or a snapshot."""
    try:
        after = announce(replica, content) if isinstance(content, Round) else restore(replica, content)
    except (ArtifactAltered, GenesisMismatch) as error:
        return replica, (Fail(error=error),)
    return _tend(replica, after)


def remind(replica: Replica, alarm: int) -> Followed:
    """No news by the time it was due: ask. An alarm that a later one replaced is void."""
    return _ask(replica) if alarm == replica.alarm else (replica, ())


def announce(replica: Replica, round_: Round) -> Replica:
    """The replica that knows of an announcement, and has applied whatever it can."""
    if round_.federation != replica.federation:
        return replica
    known = {waiting.version: waiting for waiting in replica.waiting}
    rival = known.get(round_.version)
    if rival is None or rival.attempt < round_.attempt:
        known[round_.version] = round_
    waiting = tuple(known[version] for version in sorted(known)[-WAITING:])
    return _settle(replace(replica, waiting=waiting))


def restore(replica: Replica, snapshot: Snapshot) -> Replica:
    """The replica that holds a snapshot, unless it has come as far by itself.

    Raises:
        GenesisMismatch: it belongs to another federation.
        ArtifactAltered: its state digest is not that of its coefficients.
    """
    opened = replace(snapshot.round, importance=snapshot.importance)
    if replica.held is not None and snapshot.version <= replica.held.version:
        return announce(replica, opened)
    genesis = _verified_genesis(replica, snapshot)
    coefficients = _coefficients(snapshot, genesis)
    digest = state_digest(genesis_digest(snapshot.genesis), snapshot.version, coefficients)[:STATE_BYTES]
    if not digest == snapshot.state == opened.state or opened.version != snapshot.version:
        raise ArtifactAltered(f"snapshot of version {snapshot.version}: its digest is not that of its contents")
    return _settle(replace(replica, genesis=snapshot.genesis, held=_held(opened, coefficients), asked=False))


def _verified_genesis(replica: Replica, snapshot: Snapshot) -> Genesis:
    genesis = Genesis.decode(snapshot.genesis)
    if replica.genesis not in (None, snapshot.genesis) or genesis.federation != replica.federation:
        raise GenesisMismatch(f"snapshot of version {snapshot.version}: it belongs to another genesis")
    return genesis


def _coefficients(snapshot: Snapshot, genesis: Genesis) -> NDArray[np.int64]:
    try:
        return unpack_integers(snapshot.coefficients, genesis.pool.size)
    except DecodeError as error:
        raise ArtifactAltered(f"snapshot of version {snapshot.version}: {error}") from error


def _settle(replica: Replica) -> Replica:
    """Apply what waits, in order, up to the first gap."""
    while replica.held is not None and replica.waiting and replica.waiting[0].version <= replica.held.version + 1:
        first, *rest = replica.waiting
        replica = _apply(replace(replica, waiting=tuple(rest)), replica.held, first)
    return replica


def _apply(replica: Replica, held: Held, round_: Round) -> Replica:
    """Go on to the next version, or the next attempt at this one; what is old changes nothing."""
    if (round_.version, round_.attempt) <= (held.version, held.round.attempt):
        return replica
    coefficients = held.coefficients if round_.version == held.version else _advanced(held, round_)
    if coefficients is None or _state(replica, round_.version, coefficients) != round_.state:
        return replace(replica, held=None, asked=False, mismatches=replica.mismatches + 1)
    return replace(replica, held=_held(round_, coefficients))


def _advanced(held: Held, round_: Round) -> NDArray[np.int64] | None:
    """The coefficients after a round's delta; None when it is not one of this pool."""
    try:
        return held.coefficients + unpack_integers(round_.delta or b"", len(held.coefficients))
    except DecodeError:
        return None


def _state(replica: Replica, version: int, coefficients: NDArray[np.int64]) -> bytes:
    assert replica.genesis is not None, "a version is held only after its genesis is known"
    return state_digest(genesis_digest(replica.genesis), version, coefficients)[:STATE_BYTES]


def _held(round_: Round, coefficients: NDArray[np.int64]) -> Held:
    coefficients.setflags(write=False)
    return Held(round=round_, coefficients=coefficients)


def _tend(before: Replica, after: Replica) -> Followed:
    """Ask when something is missing, expect the next news when something came."""
    if after.incomplete:
        return (after, ()) if after.asked else _ask(after)
    if after.held is before.held and not before.asked:
        return after, ()
    return _expect(replace(after, asked=False))


def _expect(replica: Replica) -> Followed:
    """Wake up some time after the round that is held should have ended; after the last one there is no news."""
    assert replica.held is not None, "only a complete replica waits for news"
    round_ = replica.held.round
    lasting = min(max(0.0, round_.deadline - round_.opened), LONGEST_SECONDS)
    replica, wake = _wake(replica, lasting + PATIENCE_SECONDS)
    return replica, () if round_.last else (wake,)


def _ask(replica: Replica) -> Followed:
    replica, wake = _wake(replace(replica, asked=True), PATIENCE_SECONDS)
    have = None if replica.held is None else replica.held.version
    request = SnapshotRequest(federation=replica.federation, client=replica.participant, have=have)
    to = to_aggregator(replica.federation, "snapshot", replica.participant)
    return replica, (Publish(token=REQUEST, letters=(Letter(to=to, content=request),)), wake)


def _wake(replica: Replica, after_seconds: float) -> tuple[Replica, Wake]:
    replica = replace(replica, alarm=replica.alarm + 1)
    return replica, Wake(after_seconds=after_seconds, alarm=replica.alarm)
