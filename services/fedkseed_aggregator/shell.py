"""The aggregator's edge: deliveries become events, effects become calls of the ledger's store and the broker."""

from collections.abc import Callable, Collection, Iterable, Sequence

from fedkseed.errors import DecodeError
from fedkseed.ledger import fold
from fedkseed.ledger.store import LedgerStore
from fedkseed.messages import Evaluation, SnapshotRequest, Update
from fedkseed.transport.broker import Broker, Delivery, Notice
from fedkseed.transport.door import Acknowledge, Publish, Undecodable, misplaced, seal, unseal
from fedkseed.transport.topology import evaluations_queue, snapshots_queue, updates_queue
from fedkseed_aggregator.effects import Close, Consult, Effect, Fold, MarkAnnounced, Recall, Score, Wake
from fedkseed_aggregator.events import (
    Arrival,
    Changed,
    Closed,
    Consulted,
    EvaluationArrived,
    Event,
    Recalled,
    SnapshotAsked,
    UpdatesArrived,
    Woke,
)


def queues(federation: str) -> tuple[str, ...]:
    """What an aggregator consumes."""
    return updates_queue(federation), snapshots_queue(federation), evaluations_queue(federation)


def events(notices: Sequence[Notice], trusted: Collection[str] | None = None) -> tuple[Event, ...]:
    """Read what a broker said; the updates among it become one micro-batch, the last event.

    Args:
        notices: what it said.
        trusted: see `unseal`.
    """
    arrivals: list[Arrival[Update]] = []
    others: list[Event] = []
    for notice in notices:
        match _event(notice, trusted):
            case Arrival() as arrival:
                arrivals.append(arrival)
            case event:
                others.append(event)
    return (*others, UpdatesArrived(arrivals=tuple(arrivals))) if arrivals else tuple(others)


def _event(notice: Notice, trusted: Collection[str] | None) -> Event | Arrival[Update]:
    if not isinstance(notice, Delivery):
        return notice
    try:
        message = unseal(notice, trusted)
    except DecodeError as error:
        return Undecodable(delivery=notice, reason=str(error))
    match message:
        case Update():
            return Arrival(tag=notice.tag, message=message, size=len(notice.body))
        case SnapshotRequest():
            return SnapshotAsked(arrival=Arrival(tag=notice.tag, message=message))
        case Evaluation():
            return EvaluationArrived(arrival=Arrival(tag=notice.tag, message=message))
        case _:
            return misplaced(notice, message)


class Shell:
    """Carries out effects.

    Args:
        store: the ledger.
        broker: a started connection.
        wake: has an event fed at a time, in unix seconds of the store's clock.
    """

    def __init__(self, *, store: LedgerStore, broker: Broker, wake: Callable[[float, Woke], object]) -> None:
        self._store = store
        self._broker = broker
        self._wake = wake

    def carry_out(self, effect: Effect) -> Iterable[Event]:
        """Do one effect; the events it answers with at once."""
        match effect:
            case Publish(token=token, letters=letters):
                self._broker.publish(token, tuple(map(seal, letters)))
            case Acknowledge(tags=tags):
                self._broker.acknowledge(tags)
            case Wake(at_seconds=at_seconds, version=version, attempt=attempt):
                self._wake(at_seconds, Woke(version=version, attempt=attempt))
            case Recall() | Consult():
                return (self._read(effect),)
            case MarkAnnounced(version=version, attempt=attempt):
                self._store.transact(lambda head, _: fold.announced(head, version, attempt))
            case Fold() | Score() | Close():
                return (self._change(effect),)
        return ()

    def _read(self, effect: Recall | Consult) -> Event:
        head = self._store.head()
        if isinstance(effect, Consult):
            return Consulted(head=head, arrival=effect.arrival)
        known = head.announced[0] if head.announced else 0
        plain = head.version <= known + 1 and head.floor <= known  # at most one round has closed: the head says all of it
        commits = () if plain else tuple(self._store.commits(after=known))
        return Recalled(head=head, commits=commits, receipts=effect.receipts, tags=effect.tags)

    def _change(self, effect: Fold | Score | Close) -> Event:
        match effect:
            case Fold(arrivals=arrivals):
                updates = tuple(arrival.message for arrival in arrivals)
                sizes = tuple(arrival.size for arrival in arrivals)
                folded = self._store.transact(lambda head, now: fold.fold(head, updates, now, sizes))
                return Changed(folded=folded, tags=tuple(arrival.tag for arrival in arrivals))
            case Score(arrival=arrival):
                folded = self._store.transact(lambda head, now: fold.score(head, arrival.message, now))
                return Changed(folded=folded, tags=(arrival.tag,))
            case Close(version=version, attempt=attempt):
                return Closed(folded=self._store.transact(lambda head, now: fold.close(head, version, attempt, now)))
