"""What an aggregator does, as a pure machine: events in, effects out.

- The ledger decides; the machine only says when it is asked and who is told. It keeps nothing that a crash could lose:
  its state is what is under way, and Started begins from the ledger alone.
- Crash order: the ledger's transaction, then receipts and announcements, then `announced` and the acknowledgement, once the
  broker has confirmed. A crash in between repeats letters, never counts.
- Whatever the ledger has not announced is announced, in order, whoever committed it, after the receipts of members whose
  round it voided: several aggregators need no lock, and an operator needs no broker.
"""

from dataclasses import dataclass, replace

from fedkseed.ledger.fold import Folded, snapshot, unannounced, untold
from fedkseed.ledger.head import Head
from fedkseed.messages import Receipt, SnapshotRequest
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.door import Acknowledge, Letter, Publish, Undecodable
from fedkseed.transport.topology import to_all, to_client, to_dead, to_mailbox
from fedkseed_aggregator.effects import Close, Consult, Effect, Fold, MarkAnnounced, Recall, Score, Wake
from fedkseed_aggregator.events import (
    Arrival,
    Changed,
    Closed,
    Consulted,
    EvaluationArrived,
    Event,
    Excess,
    Recalled,
    SnapshotAsked,
    Started,
    Ticked,
    UpdatesArrived,
    Woke,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Letters that are not confirmed yet, and what is to be done once they are."""

    token: int
    letters: tuple[Letter, ...]
    then: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is under way."""

    federation: str
    unconfirmed: tuple[Publication, ...] = ()
    published: int = 0  # tokens given out
    awaited: tuple[int, int] | None = None  # (version, attempt) whose deadline a wake-up was asked for


Step = tuple[State, tuple[Effect, ...]]


def step(state: State, event: Event) -> Step:
    """Decide what follows from an event."""
    match event:
        case Started() | Ticked():
            return state, (Recall(),)
        case UpdatesArrived(arrivals=arrivals):
            return state, (Fold(arrivals=arrivals),)
        case EvaluationArrived(arrival=arrival):
            return state, (Score(arrival=arrival),)
        case SnapshotAsked(arrival=arrival):
            return state, (Consult(arrival=arrival),)
        case Undecodable(delivery=delivery, reason=reason):
            dead = Letter(to=to_dead(state.federation), content=delivery.body, reason=reason, origin=delivery.key)
            return _publish(state, (dead,), then=(Acknowledge(tags=(delivery.tag,)),))
        case Excess(tags=tags):
            return state, (Acknowledge(tags=tags),)
        case Changed(folded=folded, tags=tags):
            return _tell(state, folded, tags)
        case Closed():
            return state, (Recall(),)
        case Recalled():
            return _resume(state, event)
        case Consulted(head=head, arrival=arrival):
            return _answer(state, head, arrival)
        case Confirmed(token=token):
            return _confirm(state, token)
        case Unconfirmed(token=token):
            again = (p for p in state.unconfirmed if p.token == token)
            return state, tuple(Publish(token=p.token, letters=p.letters) for p in again)
        case Woke(version=version, attempt=attempt) if state.awaited == (version, attempt):
            return replace(state, awaited=None), (Close(version=version, attempt=attempt),)
        case Woke():
            return state, ()


def _tell(state: State, folded: Folded, tags: tuple[int, ...]) -> Step:
    """Answer the deliveries of a transaction; with new rounds, together with their announcements."""
    if folded.rounds:
        return state, (Recall(receipts=folded.receipts, tags=tags),)
    return _publish(state, _receipts(state, folded.receipts), then=(Acknowledge(tags=tags),))


def _resume(state: State, recalled: Recalled) -> Step:
    """Tell whose round was voided, announce what is missing, and ask to be woken at the deadline of the open round."""
    rounds = unannounced(recalled.head, recalled.commits)
    letters = tuple(Letter(to=to_all(state.federation), content=round_) for round_ in rounds)
    marks = tuple(MarkAnnounced(version=round_.version, attempt=round_.attempt) for round_ in rounds[-1:])
    tags = (Acknowledge(tags=recalled.tags),) if recalled.tags else ()
    receipts = _receipts(state, (*recalled.receipts, *untold(recalled.head)))
    state, publish = _publish(state, (*receipts, *letters), then=(*marks, *tags))
    state, wake = _expect(state, recalled.head)
    return state, (*publish, *wake)


def _expect(state: State, head: Head) -> Step:
    """Each deadline is awaited once."""
    current = (head.version, head.round.attempt)
    if head.state != "open" or state.awaited == current:
        return state, ()
    wake = Wake(at_seconds=head.round.deadline, version=head.version, attempt=head.round.attempt)
    return replace(state, awaited=current), (wake,)


def _answer(state: State, head: Head, arrival: Arrival[SnapshotRequest]) -> Step:
    """Send what is missing: the open round where its delta is enough, else everything."""
    request = arrival.message
    near = request.have is not None and request.have in (head.version - 1, head.version)
    content = head.round if near else snapshot(head)
    letter = Letter(to=to_mailbox(state.federation, request.client), content=content)
    return _publish(state, (letter,), then=(Acknowledge(tags=(arrival.tag,)),))


def _receipts(state: State, receipts: tuple[Receipt, ...]) -> tuple[Letter, ...]:
    return tuple(Letter(to=to_client(state.federation, receipt.client), content=receipt) for receipt in receipts)


def _publish(state: State, letters: tuple[Letter, ...], *, then: tuple[Effect, ...]) -> Step:
    """Publish, and do the rest when it is confirmed; without letters there is nothing to wait for."""
    if not letters:
        return state, then
    publication = Publication(token=state.published, letters=letters, then=then)
    state = replace(state, unconfirmed=(*state.unconfirmed, publication), published=state.published + 1)
    return state, (Publish(token=publication.token, letters=letters),)


def _confirm(state: State, token: int) -> Step:
    left = tuple(p for p in state.unconfirmed if p.token != token)
    due = tuple(effect for p in state.unconfirmed if p.token == token for effect in p.then)
    return replace(state, unconfirmed=left), due
