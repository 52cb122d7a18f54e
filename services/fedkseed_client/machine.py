"""What a client does, as a pure machine: events in, effects out.

- It follows rounds through its replica, and trains on the newest version when it is free and invited: one update of each
  version. What nobody would accept any more is abandoned.
- State is saved before a delivery is acknowledged and before an update is published, so that a restart resumes: it
  trains an unfinished version again, and publishes again what was not confirmed.
- Once an update is answered as `quarantined` it trains no more and only follows. That is forgotten by a restart, because the
  quarantine may have been lifted.
- After the last version, once everything is confirmed, it ends.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedkseed.ledger.invitation import invited
from fedkseed.messages import Receipt, Round, Update
from fedkseed.replica import Fail, MailArrived, Replica, Wake, Woke, begin, receive, remind
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.door import Acknowledge, Letter, Publish, Undecodable
from fedkseed.transport.topology import to_aggregator
from fedkseed_client.events import Declined, Event, ReceiptArrived, Started, Trained


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """What to train: a version of the ledger, and the settings that its round announced."""

    round: Round
    coefficients: NDArray[np.int64]  # shape (K,), ticks, read-only

    @property
    def base(self) -> int:
        """The version to train on."""
        return self.round.version


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """What a client must know to go on: all of it survives a restart, but for `quarantined`."""

    client: str
    examples: int
    replica: Replica
    training: Assignment | None = None
    trained: int = -1  # the newest base that was measured
    declined: tuple[int, int] = (-1, -1)  # the newest (version, attempt) that the trainer did not take
    outbox: tuple[Update, ...] = ()  # not confirmed yet
    quarantined: bool = False  # what it measures is refused: it trains no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Effect: keep the state where a restart finds it."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Effect: write down what became of an update."""

    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Effect: begin to train: Trained or Declined, sooner or later."""

    assignment: Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """Effect: stop training; its outcome would be ignored."""

    base: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Effect: training is over, and everything was delivered."""


Effect = Publish | Acknowledge | Wake | Save | Note | Train | Abandon | Fail | End
Step = tuple[State, tuple[Effect, ...]]


def new(federation: str, client: str, examples: int) -> State:
    """A client that has never run; `examples` is what it holds."""
    return State(client=client, examples=examples, replica=Replica(federation=federation, participant=client))


def step(state: State, event: Event) -> Step:
    """Decide what follows from an event."""
    match event:
        case Started():
            return _start(state)
        case MailArrived(tag=tag, content=content):
            replica, effects = receive(state.replica, content)
            return _move_on(replace(state, replica=replica), effects, (Acknowledge(tags=(tag,)),))
        case Woke(alarm=alarm):
            replica, effects = remind(state.replica, alarm)
            return replace(state, replica=replica), effects
        case Trained():
            return _send(state, event)
        case Declined(base=base, attempt=attempt) if state.training and state.training.base == base:
            return _move_on(replace(state, training=None, declined=(base, attempt)))
        case Confirmed(token=token) if any(update.base == token for update in state.outbox):
            return _move_on(replace(state, outbox=tuple(update for update in state.outbox if update.base != token)))
        case Unconfirmed(token=token):
            return state, tuple(_publish(update) for update in state.outbox if update.base == token)
        case ReceiptArrived(tag=tag, receipt=receipt):
            noted = (Note(receipt=receipt), Acknowledge(tags=(tag,)))
            if receipt.outcome != "quarantined" or state.quarantined:
                return state, noted
            return _move_on(replace(state, quarantined=True), (), noted)
        case Undecodable(delivery=delivery):
            return state, (Acknowledge(tags=(delivery.tag,)),)
        case Declined() | Confirmed():
            return state, ()


def _start(state: State) -> Step:
    """Ask for news, publish what was not confirmed, go on training."""
    replica, asking = begin(state.replica)
    resumed = tuple(Train(assignment=assignment) for assignment in (state.training,) if assignment)
    publishing = tuple(_publish(update) for update in state.outbox)
    return replace(state, replica=replica), (*asking, *publishing, *resumed)


def _send(state: State, trained: Trained) -> Step:
    """Make an update of what was measured, unless nobody waits for it."""
    if state.training is None or state.training.base != trained.base:
        return state, ()
    update = Update(
        federation=state.replica.federation,
        client=state.client,
        base=trained.base,
        state=state.training.round.state,
        n=state.examples,
        k=trained.k,
        g=trained.g,
        loss=trained.loss,
        seconds=trained.seconds,
        skipped=trained.skipped,
    )
    state = replace(state, training=None, trained=trained.base, outbox=(*state.outbox, update))
    return _move_on(state, (), (_publish(update),))


def _publish(update: Update) -> Publish:
    to = to_aggregator(update.federation, "update", update.client)
    return Publish(token=update.base, letters=(Letter(to=to, content=update),))


def _move_on(state: State, before: tuple[Effect, ...] = (), after: tuple[Effect, ...] = ()) -> Step:
    """Abandon, begin or end training as the newest round has it; save between what comes before and after."""
    state, leaving = _leave(state)
    state, beginning = _begin(state)
    ending = (End(),) if _over(state) else ()
    return state, (*before, Save(state=state), *after, *leaving, *beginning, *ending)


def _leave(state: State) -> Step:
    """Abandon what nobody would accept any more."""
    if state.training is None or state.replica.held is None:
        return state, ()
    if not state.quarantined and not _hopeless(state.training.base, state.replica.held.round):
        return state, ()
    return replace(state, training=None), (Abandon(base=state.training.base),)


def _hopeless(base: int, newest: Round) -> bool:
    stale = newest.max_staleness is not None and newest.version - base > newest.max_staleness
    return newest.last or stale


def _begin(state: State) -> Step:
    """Train on the newest version when free."""
    held = state.replica.held
    if held is None or state.training or not _wanted(state, held.round):
        return state, ()
    assignment = Assignment(round=held.round, coefficients=held.coefficients)
    return replace(state, training=assignment), (Train(assignment=assignment),)


def _wanted(state: State, newest: Round) -> bool:
    """Whether there is an invitation that was neither answered nor declined."""
    fresh = newest.version > state.trained and (newest.version, newest.attempt) > state.declined
    return fresh and not newest.last and not state.quarantined and invited(newest.nonce, state.client, newest.participation)


def _over(state: State) -> bool:
    held = state.replica.held
    return held is not None and held.round.last and not state.outbox
