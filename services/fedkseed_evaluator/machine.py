"""What an evaluator does, as a pure machine: events in, effects out.

The first version that it holds, the last one, and one in every `every` versions are scored; one that falls behind goes on
with the newest. It keeps nothing over a restart: it asks for a snapshot and scores what is newest then.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedkseed.messages import Evaluation
from fedkseed.replica import Fail, Held, MailArrived, Replica, Wake, Woke, begin, receive, remind
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.door import Acknowledge, Letter, Publish, Undecodable
from fedkseed.transport.topology import to_aggregator


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Event: the process has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Event: a version was scored."""

    version: int
    metrics: dict[str, float]
    examples: int
    seconds: float


Event = Started | MailArrived | Undecodable | Evaluated | Confirmed | Unconfirmed | Woke


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluate:
    """Effect: score a version: Evaluated, sooner or later."""

    version: int
    coefficients: NDArray[np.int64]  # shape (K,), ticks, read-only


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Effect: the last version was scored, and everything was delivered."""


Effect = Publish | Acknowledge | Wake | Evaluate | Fail | End


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """What an evaluator knows."""

    name: str
    every: int  # versions between evaluations
    replica: Replica
    scoring: Held | None = None
    scored: int | None = None  # the newest version whose scoring was begun
    outbox: tuple[Evaluation, ...] = ()  # not confirmed yet


Step = tuple[State, tuple[Effect, ...]]


def new(federation: str, name: str, every: int) -> State:
    """An evaluator that scores one in every so many versions."""
    return State(name=name, every=every, replica=Replica(federation=federation, participant=name))


def step(state: State, event: Event) -> Step:
    """Decide what follows from an event."""
    match event:
        case Started():
            replica, effects = begin(state.replica)
            return replace(state, replica=replica), effects
        case MailArrived(tag=tag, content=content):
            replica, effects = receive(state.replica, content)
            return _move_on(replace(state, replica=replica), (*effects, Acknowledge(tags=(tag,))))
        case Woke(alarm=alarm):
            replica, effects = remind(state.replica, alarm)
            return replace(state, replica=replica), effects
        case Evaluated():
            return _send(state, event)
        case Confirmed(token=token):
            return _move_on(replace(state, outbox=tuple(kept for kept in state.outbox if kept.version != token)), ())
        case Unconfirmed(token=token):
            return state, tuple(_publish(state, kept) for kept in state.outbox if kept.version == token)
        case Undecodable(delivery=delivery):
            return state, (Acknowledge(tags=(delivery.tag,)),)


def _send(state: State, evaluated: Evaluated) -> Step:
    """Publish scores."""
    if state.scoring is None or state.scoring.version != evaluated.version:
        return state, ()
    evaluation = Evaluation(
        federation=state.replica.federation,
        client=state.name,
        version=evaluated.version,
        state=state.scoring.round.state,
        metrics=evaluated.metrics,
        examples=evaluated.examples,
        seconds=evaluated.seconds,
    )
    state = replace(state, scoring=None, outbox=(*state.outbox, evaluation))
    return _move_on(state, (_publish(state, evaluation),))


def _publish(state: State, evaluation: Evaluation) -> Publish:
    to = to_aggregator(evaluation.federation, "evaluation", state.name)
    return Publish(token=evaluation.version, letters=(Letter(to=to, content=evaluation),))


def _move_on(state: State, effects: tuple[Effect, ...]) -> Step:
    """Score the newest version if it is due; end after the last one."""
    held = state.replica.held
    if held is None or state.scoring:
        return state, effects
    if _due(state, held):
        evaluate = Evaluate(version=held.version, coefficients=held.coefficients)
        return replace(state, scoring=held, scored=held.version), (*effects, evaluate)
    return state, (*effects, End()) if held.round.last and not state.outbox else effects


def _due(state: State, held: Held) -> bool:
    """Whether a version is the first, the last, or reaches or passes a multiple of `every` for the first time."""
    if state.scored is None:
        return True
    if held.round.last and held.version > state.scored:
        return True
    return held.version // state.every > state.scored // state.every
