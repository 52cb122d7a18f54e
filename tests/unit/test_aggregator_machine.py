"""What an aggregator decides, event by event, against what the ledger really answers."""

from dataclasses import replace

import pytest

from fedkseed.federation import Target
from fedkseed.ledger.fold import Folded, announced, close, fold, score, snapshot
from fedkseed.ledger.operate import finish, pause
from fedkseed.messages import Receipt, Round, SnapshotRequest
from fedkseed.transport.broker import Confirmed, Delivery, Unconfirmed
from fedkseed.transport.door import Acknowledge, Letter, Publish, Undecodable
from fedkseed.transport.topology import to_all, to_client, to_dead, to_mailbox
from fedkseed_aggregator.effects import Close, Consult, Fold, MarkAnnounced, Recall, Score, Wake
from fedkseed_aggregator.events import (
    Arrival,
    Changed,
    Closed,
    Consulted,
    EvaluationArrived,
    Recalled,
    SnapshotAsked,
    Started,
    UpdatesArrived,
    Woke,
)
from fedkseed_aggregator.machine import State, step
from tests.ledgers import NAME, at_version, evaluation, ledger, update

NEW = State(federation=NAME)
NOTHING = Folded()


def recalled(head, commits=(), receipts=(), tags=()):
    return Recalled(head=head, commits=tuple(commits), receipts=tuple(receipts), tags=tags)


def contents(effects):
    return [letter.content for effect in effects if isinstance(effect, Publish) for letter in effect.letters]


def token(effects):
    (publish,) = [effect for effect in effects if isinstance(effect, Publish)]
    return publish.token


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def announced_ledger(**settings):
    """A ledger whose version 0 was announced."""
    return announced(ledger(**settings), 0, 0)[0]


def test_it_begins_by_reading_the_ledger():
    assert step(NEW, Started()) == (NEW, (Recall(),))


def test_a_new_federation_announces_version_0_and_waits_for_its_deadline():
    head = ledger()
    state, effects = step(NEW, recalled(head))
    letter = Letter(to=to_all(NAME), content=head.round)
    assert effects == (
        Publish(token=0, letters=(letter,)),
        Wake(at_seconds=head.round.deadline, version=0, attempt=0),
    )
    assert step(state, Confirmed(token=0))[1] == (MarkAnnounced(version=0, attempt=0),)


def test_every_version_that_was_not_announced_is_announced_in_order():
    head, commits = at_version(announced_ledger(), 3)
    _, effects = step(NEW, recalled(head, commits))
    assert [round_.version for round_ in contents(effects)] == [1, 2, 3]


def test_an_attempt_that_was_not_announced_is_announced():
    head, _ = close(announced_ledger(), 0, 0, 2000.0)
    _, effects = step(NEW, recalled(head))
    assert contents(effects) == [head.round]


def test_with_everything_announced_nothing_is_said():
    _, effects = step(NEW, recalled(announced_ledger()))
    assert not of(Publish, effects)
    assert len(of(Wake, effects)) == 1


def test_a_batch_of_updates_is_one_transaction():
    head = ledger()
    arrivals = tuple(Arrival(tag=tag, message=update(head, f"c{tag}")) for tag in (1, 2))
    assert step(NEW, UpdatesArrived(arrivals=arrivals)) == (NEW, (Fold(arrivals=arrivals),))


def test_receipts_are_sent_before_their_updates_are_acknowledged():
    head = announced_ledger()
    _, folded = fold(head, [update(head, "ann")], 1000.0)
    state, effects = step(NEW, Changed(folded=folded, tags=(5,)))
    receipt = folded.receipts[0]
    assert effects == (Publish(token=0, letters=(Letter(to=to_client(NAME, "ann"), content=receipt),)),)
    state, effects = step(state, Confirmed(token=0))
    assert effects == (Acknowledge(tags=(5,)),)
    assert state.unconfirmed == ()


def test_a_commit_is_announced_before_its_updates_are_acknowledged():
    head = announced_ledger()
    after, folded = fold(head, [update(head, "ann"), update(head, "bob")], 1000.0)
    state, effects = step(NEW, Changed(folded=folded, tags=(5, 6)))
    assert effects == (Recall(receipts=folded.receipts, tags=(5, 6)),)
    state, effects = step(state, recalled(after, folded.commits, folded.receipts, (5, 6)))
    assert [type(content) for content in contents(effects)] == [Receipt, Receipt, Round]
    _, effects = step(state, Confirmed(token=token(effects)))
    assert effects == (MarkAnnounced(version=1, attempt=0), Acknowledge(tags=(5, 6)))


def test_what_another_aggregator_committed_is_announced_too():
    head = announced_ledger()
    theirs, first = fold(head, [update(head, "ann"), update(head, "bob")], 1000.0)
    ours, second = fold(theirs, [update(theirs, "ann"), update(theirs, "bob")], 1000.0)
    _, effects = step(NEW, recalled(ours, (*first.commits, *second.commits), second.receipts, (1, 2)))
    assert [content.version for content in contents(effects) if isinstance(content, Round)] == [1, 2]


def test_an_unconfirmed_publication_is_repeated_and_nothing_is_acknowledged():
    head = announced_ledger()
    _, folded = fold(head, [update(head, "ann")], 1000.0)
    state, published = step(NEW, Changed(folded=folded, tags=(5,)))
    state, again = step(state, Unconfirmed(token=token(published)))
    assert again == published
    assert step(state, Confirmed(token=token(again)))[1] == (Acknowledge(tags=(5,)),)


def test_a_confirmation_that_comes_twice_counts_once():
    head = announced_ledger()
    _, folded = fold(head, [update(head, "ann")], 1000.0)
    state, _ = step(NEW, Changed(folded=folded, tags=(5,)))
    state, _ = step(state, Confirmed(token=0))
    assert step(state, Confirmed(token=0)) == (state, ())
    assert step(state, Unconfirmed(token=0)) == (state, ())


def test_publications_are_confirmed_in_any_order():
    head = announced_ledger()
    _, folded = fold(head, [update(head, "ann")], 1000.0)
    state, _ = step(NEW, Changed(folded=folded, tags=(1,)))
    state, _ = step(state, Changed(folded=folded, tags=(2,)))
    state, second = step(state, Confirmed(token=1))
    state, first = step(state, Confirmed(token=0))
    assert (first, second) == ((Acknowledge(tags=(1,)),), (Acknowledge(tags=(2,)),))


def test_at_the_deadline_the_attempt_is_closed_and_the_next_deadline_awaited():
    head = announced_ledger()
    state, _ = step(NEW, recalled(head))
    state, effects = step(state, Woke(version=0, attempt=0))
    assert effects == (Close(version=0, attempt=0),)
    after, folded = close(head, 0, 0, 5000.0)
    state, effects = step(state, Closed(folded=folded))
    assert effects == (Recall(),)
    _, effects = step(state, recalled(after))
    assert contents(effects) == [after.round]
    assert of(Wake, effects) == [Wake(at_seconds=after.round.deadline, version=0, attempt=1)]


def test_each_deadline_is_awaited_once():
    state, first = step(NEW, recalled(announced_ledger()))
    _, second = step(state, recalled(announced_ledger()))
    assert (len(of(Wake, first)), len(of(Wake, second))) == (1, 0)


def test_the_deadline_of_a_round_that_has_closed_changes_nothing():
    state, _ = step(NEW, recalled(announced_ledger()))
    head, commits = at_version(announced_ledger(), 1)
    state, _ = step(state, recalled(head, commits))
    assert step(state, Woke(version=0, attempt=0)) == (state, ())


def test_a_deadline_that_somebody_else_answered_is_followed_by_the_next_one():
    state, _ = step(NEW, recalled(announced_ledger()))
    state, _ = step(state, Woke(version=0, attempt=0))
    state, _ = step(state, Closed(folded=NOTHING))
    head, commits = at_version(announced_ledger(), 2)
    _, effects = step(state, recalled(head, commits))
    assert [wake.version for wake in of(Wake, effects)] == [2]


@pytest.mark.parametrize("ended", ["paused", "closed"])
def test_a_round_that_will_not_close_has_no_deadline(ended):
    head = pause(announced_ledger(), 0.0)[0] if ended == "paused" else at_version(announced_ledger(total=1), 1)[0]
    assert head.state == ended
    _, effects = step(NEW, recalled(head))
    assert not of(Wake, effects)


@pytest.mark.parametrize(("have", "whole"), [(None, True), (0, True), (1, True), (2, False), (3, False), (4, True)])
def test_a_request_is_answered_with_as_little_as_will_do(have, whole):
    head, _ = at_version(ledger(), 3)
    request = SnapshotRequest(federation=NAME, client="ann", have=have)
    arrival = Arrival(tag=9, message=request)
    assert step(NEW, SnapshotAsked(arrival=arrival)) == (NEW, (Consult(arrival=arrival),))
    state, effects = step(NEW, Consulted(head=head, arrival=arrival))
    content = snapshot(head) if whole else head.round
    assert effects == (Publish(token=0, letters=(Letter(to=to_mailbox(NAME, "ann"), content=content),)),)
    assert step(state, Confirmed(token=0))[1] == (Acknowledge(tags=(9,)),)


def test_scores_are_kept_and_acknowledged():
    head = announced_ledger()
    arrival = Arrival(tag=4, message=evaluation(head, 0, loss=1.0))
    assert step(NEW, EvaluationArrived(arrival=arrival)) == (NEW, (Score(arrival=arrival),))
    _, folded = score(head, arrival.message, 1000.0)
    assert step(NEW, Changed(folded=folded, tags=(4,)))[1] == (Acknowledge(tags=(4,)),)


def test_members_whose_round_is_voided_get_a_second_receipt():
    head = announced_ledger(target=Target(metric="loss", at_most=1.0))
    head, _ = fold(head, [update(head, "ann")], 1000.0)
    after, folded = score(head, evaluation(head, 0, loss=0.5), 1000.0)
    state, effects = step(NEW, Changed(folded=folded, tags=(4,)))
    assert effects == (Recall(tags=(4,)),)
    _, effects = step(state, recalled(after, folded.commits, tags=(4,)))
    assert [content.outcome for content in contents(effects) if isinstance(content, Receipt)] == ["voided"]
    assert [content.last for content in contents(effects) if isinstance(content, Round)] == [True]


def test_whoever_announces_what_somebody_else_voided_tells_its_members_first():
    head = announced_ledger()
    head, _ = fold(head, [update(head, "ann")], 1000.0)
    after, folded = finish(head, 1001.0)
    _, effects = step(NEW, recalled(after))
    assert contents(effects) == [*folded.voided, after.round]
    _, effects = step(NEW, recalled(announced(after, 0, 1)[0]))
    assert contents(effects) == []


def test_what_cannot_be_read_goes_to_the_dead_letters_with_its_reason():
    delivery = Delivery(tag=3, queue="q", key="update.ann", body=b"rubbish")
    state, effects = step(NEW, Undecodable(delivery=delivery, reason="not msgpack"))
    letter = Letter(to=to_dead(NAME), content=b"rubbish", reason="not msgpack", origin="update.ann")
    assert effects == (Publish(token=0, letters=(letter,)),)
    assert step(state, Confirmed(token=0))[1] == (Acknowledge(tags=(3,)),)


def test_a_restart_repeats_letters_and_nothing_else():
    head = announced_ledger()
    after, folded = fold(head, [update(head, "ann"), update(head, "bob")], 1000.0)
    again, repeated = fold(after, [update(head, "ann"), update(head, "bob")], 1001.0)
    assert again is after
    assert repeated.receipts == folded.receipts
    state, effects = step(NEW, recalled(after, folded.commits))
    assert [content.version for content in contents(effects)] == [1]
    _, effects = step(replace(state, unconfirmed=()), Changed(folded=repeated, tags=(1, 2)))
    assert contents(effects) == list(folded.receipts)
