"""What an evaluator decides, event by event, on what a ledger really announces."""

from dataclasses import replace

import pytest

from fedkseed.ledger.fold import snapshot
from fedkseed.messages import Evaluation
from fedkseed.replica import Fail, MailArrived, Wake, Woke
from fedkseed.transport.broker import Confirmed, Delivery, Unconfirmed
from fedkseed.transport.door import Acknowledge, Letter, Publish, Undecodable
from fedkseed.transport.topology import to_aggregator
from fedkseed_evaluator.machine import End, Evaluate, Evaluated, Started, new, step
from tests.ledgers import NAME, at_version, ledger

NEW = new(NAME, "eve", 3)


@pytest.fixture(scope="module")
def heads():
    """The heads of versions 0 .. 8, the last one."""
    found = [ledger(cohort=1, total=8)]
    for version in range(1, 9):
        found.append(at_version(found[-1], version)[0])
    return found


def feed(state, *events):
    """The state after some events, and the effects of the last one."""
    effects = ()
    for event in events:
        state, effects = step(state, event)
    return state, effects


def mail(content):
    return MailArrived(tag=1, content=content)


def evaluated(version):
    return Evaluated(version=version, metrics={"loss": 1.5}, examples=10, seconds=2.0)


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def versions(effects):
    return [effect.version for effect in of(Evaluate, effects)]


def follow(heads, state):
    """Everything that is scored when each version is scored and confirmed before the next one comes."""
    scored = []
    state, effects = feed(state, Started(), mail(snapshot(heads[0])))
    for head in heads[1:]:
        scored += versions(effects)
        for version in versions(effects):
            state, _ = feed(state, evaluated(version), Confirmed(token=version))
        state, effects = feed(state, mail(head.round))
    return scored + versions(effects)


def test_the_first_the_last_and_every_so_many_versions_are_scored(heads):
    assert follow(heads, NEW) == [0, 3, 6, 8]
    assert follow(heads, new(NAME, "eve", 1)) == list(range(9))


def test_it_is_given_what_the_ledger_holds(heads):
    _, effects = feed(NEW, Started(), mail(snapshot(heads[4])))
    (evaluate,) = of(Evaluate, effects)
    assert evaluate.version == 4
    assert evaluate.coefficients.tolist() == heads[4].coefficients.tolist()


def test_one_that_falls_behind_goes_on_with_the_newest(heads):
    state, effects = feed(NEW, Started(), mail(snapshot(heads[0])), *(mail(head.round) for head in heads[1:6]))
    assert versions(effects) == []
    _, effects = feed(state, evaluated(0))
    assert versions(effects) == [5]


def test_scores_carry_the_state_they_were_measured_on_and_stay_until_confirmed(heads):
    state, effects = feed(NEW, Started(), mail(snapshot(heads[0])), mail(heads[1].round), evaluated(0))
    state_of_0 = heads[0].digest[:16]
    evaluation = Evaluation(
        federation=NAME, client="eve", version=0, state=state_of_0, metrics={"loss": 1.5}, examples=10, seconds=2.0
    )  # fmt: skip
    publish = Publish(token=0, letters=(Letter(to=to_aggregator(NAME, "evaluation", "eve"), content=evaluation),))
    assert effects == (publish,)
    state, effects = feed(state, Unconfirmed(token=0))
    assert effects == (publish,)
    state, _ = feed(state, Confirmed(token=0))
    assert feed(state, Unconfirmed(token=0))[1] == ()


def test_it_ends_once_the_last_version_is_scored_and_confirmed(heads):
    state, effects = feed(NEW, Started(), mail(snapshot(heads[8])))
    assert versions(effects) == [8]
    state, effects = feed(state, evaluated(8))
    assert of(End, effects) == []
    assert of(End, feed(state, Confirmed(token=8))[1]) == [End()]


def test_it_ends_when_the_version_it_has_scored_turns_out_to_be_the_last(heads):
    state, _ = feed(NEW, Started(), mail(snapshot(heads[3])), evaluated(3), Confirmed(token=3))
    again = replace(heads[3].round, attempt=1, last=True)
    assert of(End, feed(state, mail(again))[1]) == [End()]


def test_scores_that_nobody_asked_for_are_ignored(heads):
    state, _ = feed(NEW, Started(), mail(snapshot(heads[0])))
    assert feed(state, evaluated(5)) == (state, ())


def test_a_gap_asks_for_a_snapshot(heads):
    state, _ = feed(NEW, Started(), mail(snapshot(heads[0])))
    _, effects = feed(state, mail(heads[2].round))
    assert [type(effect) for effect in effects] == [Publish, Wake, Acknowledge]


def test_a_snapshot_that_does_not_verify_ends_it_before_it_is_acknowledged(heads):
    _, effects = feed(NEW, Started(), mail(replace(snapshot(heads[1]), state=bytes(16))))
    assert isinstance(effects[0], Fail)


def test_without_news_it_asks(heads):
    state, _ = feed(NEW, Started(), mail(snapshot(heads[0])))
    _, effects = feed(state, Woke(alarm=state.replica.alarm))
    assert [type(effect) for effect in effects] == [Publish, Wake]


def test_what_cannot_be_read_is_acknowledged():
    delivery = Delivery(tag=3, queue="q", key="round", body=b"rubbish")
    assert step(NEW, Undecodable(delivery=delivery, reason="not msgpack")) == (NEW, (Acknowledge(tags=(3,)),))
