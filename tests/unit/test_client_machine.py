"""What a client decides, event by event, on what a ledger really announces."""

from dataclasses import replace

import pytest

from fedkseed.ledger.fold import close, snapshot
from fedkseed.ledger.invitation import invited
from fedkseed.messages import Receipt, Update
from fedkseed.replica import Fail, MailArrived, Wake, Woke
from fedkseed.transport.broker import Confirmed, Delivery, Unconfirmed
from fedkseed.transport.door import Acknowledge, Letter, Publish, Undecodable
from fedkseed.transport.topology import to_aggregator
from fedkseed_client.events import Declined, ReceiptArrived, Started, Trained
from fedkseed_client.machine import Abandon, End, Note, Save, Train, new, step
from tests.ledgers import NAME, at_version, ledger

NEW = new(NAME, "ann", 7)


@pytest.fixture(scope="module")
def heads():
    """The heads of versions 0 .. 5, of a federation that takes updates two versions late."""
    found = [ledger(max_staleness=2, cohort=1)]
    for version in range(1, 6):
        found.append(at_version(found[-1], version)[0])
    return found


def feed(state, *events):
    """The state after some events, and the effects of the last one."""
    effects = ()
    for event in events:
        state, effects = step(state, event)
    return state, effects


def mail(content, tag=1):
    return MailArrived(tag=tag, content=content)


def training(heads, base=0):
    """A client that trains on a version."""
    return feed(NEW, Started(), mail(snapshot(heads[base])))[0]


def trained(base):
    return Trained(base=base, k=b"\x03\x00", g=b"\x00\x3c", loss=0.5, seconds=2.0, skipped=1)


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def updates(effects):
    letters = [letter for effect in of(Publish, effects) for letter in effect.letters]
    return [letter.content for letter in letters if isinstance(letter.content, Update)]


def bases(effects):
    return [effect.assignment.base for effect in of(Train, effects)]


def order(effects, *kinds):
    """The kinds of effect, in the order in which they come, others left out."""
    return [type(effect) for effect in effects if isinstance(effect, kinds)]


def test_it_begins_by_asking_where_the_ledger_stands():
    state, effects = step(NEW, Started())
    assert order(effects, Publish, Wake, Train) == [Publish, Wake]
    assert state.replica.asked


def test_an_invited_client_trains_on_what_it_was_sent(heads):
    _, effects = feed(NEW, Started(), mail(snapshot(heads[3])))
    (train,) = of(Train, effects)
    assert train.assignment.round == heads[3].round
    assert train.assignment.coefficients.tolist() == heads[3].coefficients.tolist()


def test_state_is_saved_before_a_delivery_is_acknowledged(heads):
    _, effects = feed(NEW, Started(), mail(snapshot(heads[0]), tag=8))
    assert order(effects, Save, Acknowledge, Train) == [Save, Acknowledge, Train]
    assert of(Acknowledge, effects) == [Acknowledge(tags=(8,))]
    assert of(Save, effects)[0].state.training.base == 0


def test_what_was_trained_is_saved_then_published(heads):
    state, effects = feed(training(heads), trained(0))
    update = Update(
        federation=NAME, client="ann", base=0, state=heads[0].digest[:16], n=7, k=b"\x03\x00", g=b"\x00\x3c", loss=0.5,
        seconds=2.0, skipped=1,
    )  # fmt: skip
    assert effects == (
        Save(state=state),
        Publish(token=0, letters=(Letter(to=to_aggregator(NAME, "update", "ann"), content=update),)),
    )
    assert state.outbox == (update,)


def test_a_busy_client_finishes_and_goes_on_with_the_newest_round(heads):
    state, effects = feed(training(heads), mail(heads[1].round), mail(heads[2].round))
    assert bases(effects) == []
    _, effects = feed(state, trained(0))
    assert [update.base for update in updates(effects)] == [0]
    assert bases(effects) == [2]


def test_training_that_nobody_would_accept_is_abandoned(heads):
    state, effects = feed(training(heads), mail(heads[1].round), mail(heads[2].round))
    assert of(Abandon, effects) == []
    state, effects = feed(state, mail(heads[3].round))
    assert order(effects, Abandon, Train) == [Abandon, Train]
    assert bases(effects) == [3]
    assert feed(state, trained(0)) == (state, ())


def test_without_a_stated_bound_nothing_is_abandoned(heads):
    boundless = [replace(head.round, max_staleness=None) for head in heads]
    _, effects = feed(training(heads), *map(mail, boundless[1:]))
    assert of(Abandon, effects) == []


def test_a_version_is_measured_once(heads):
    again, _ = close(heads[0], 0, 0, 2000.0)
    _, effects = feed(training(heads), trained(0), mail(again.round))
    assert bases(effects) == []


def test_another_attempt_does_not_disturb_training(heads):
    again, _ = close(heads[0], 0, 0, 2000.0)
    _, effects = feed(training(heads), mail(again.round))
    assert order(effects, Train, Abandon) == []


def draws(uninvited_first):
    """A client and two attempts of which only one, or only the second, invites it."""
    first = ledger(participation=0.5)
    second, _ = close(first, 0, 0, 2000.0)
    names = (f"c{i}" for i in range(100))
    want = (not uninvited_first, True)
    name = next(n for n in names if tuple(invited(h.round.nonce, n, 0.5) for h in (first, second)) == want)
    return new(NAME, name, 1), first, second


def test_who_is_not_invited_does_not_train_until_an_attempt_invites_it():
    client, first, second = draws(uninvited_first=True)
    state, effects = feed(client, Started(), mail(snapshot(first)))
    assert bases(effects) == []
    _, effects = feed(state, mail(second.round))
    assert bases(effects) == [0]


def test_who_declines_is_asked_again_by_the_next_attempt():
    client, first, second = draws(uninvited_first=False)
    state, _ = feed(client, Started(), mail(snapshot(first)))
    state, effects = feed(state, Declined(base=0, attempt=0))
    assert order(effects, Train, Publish) == []
    assert bases(feed(state, mail(first.round))[1]) == []
    _, effects = feed(state, mail(second.round))
    assert bases(effects) == [0]


def test_an_update_stays_in_the_outbox_until_it_is_confirmed(heads):
    state, _ = feed(training(heads), trained(0))
    state, effects = feed(state, Unconfirmed(token=0))
    assert updates(effects) == list(state.outbox)
    state, effects = feed(state, Confirmed(token=0))
    assert state.outbox == ()
    assert of(Save, effects) == [Save(state=state)]
    assert feed(state, Unconfirmed(token=0)) == (state, ())
    assert feed(state, Confirmed(token=0)) == (state, ())


def test_a_restart_publishes_again_what_was_not_confirmed(heads):
    saved, _ = feed(training(heads), trained(0))
    _, effects = feed(saved, Started())
    assert updates(effects) == list(saved.outbox)
    assert bases(effects) == []


def test_a_restart_trains_an_unfinished_version_again(heads):
    saved, _ = feed(training(heads), mail(heads[1].round))
    _, effects = feed(saved, Started())
    assert bases(effects) == [0]


def test_a_restart_abandons_it_once_it_hears_that_it_is_too_late(heads):
    state, _ = feed(training(heads), Started())
    _, effects = feed(state, mail(snapshot(heads[5])))
    assert order(effects, Abandon, Train) == [Abandon, Train]
    assert bases(effects) == [5]


def test_after_the_last_version_it_ends(heads):
    last, _ = at_version(ledger(max_staleness=2, cohort=1, total=1), 1)
    assert last.round.last
    state, effects = feed(training(heads), mail(last.round))
    assert order(effects, Abandon, Train, End) == [Abandon, End]
    assert state.training is None


def test_it_does_not_end_before_its_updates_are_confirmed(heads):
    last, _ = at_version(ledger(max_staleness=2, cohort=1, total=1), 1)
    state, effects = feed(training(heads), trained(0), mail(last.round))
    assert of(End, effects) == []
    _, effects = feed(state, Confirmed(token=0))
    assert order(effects, Save, End) == [Save, End]


def test_it_does_not_end_before_it_holds_the_last_version(heads):
    last, _ = at_version(ledger(max_staleness=2, cohort=1, total=5), 5)
    state, effects = feed(training(heads), mail(last.round))
    assert of(End, effects) == []
    assert len(of(Publish, effects)) == 1
    _, effects = feed(state, mail(snapshot(last)))
    assert len(of(End, effects)) == 1


def test_a_mismatch_is_counted_and_training_goes_on(heads):
    state, effects = feed(training(heads), mail(replace(heads[1].round, state=bytes(16))))
    assert state.replica.mismatches == 1
    assert len(of(Publish, effects)) == 1
    assert state.training.base == 0


def test_a_snapshot_that_does_not_verify_ends_it_before_it_is_acknowledged(heads):
    _, effects = feed(NEW, Started(), mail(replace(snapshot(heads[1]), state=bytes(16))))
    assert order(effects, Fail, Save, Acknowledge)[0] is Fail


def test_without_news_it_asks(heads):
    state = training(heads)
    _, effects = feed(state, Woke(alarm=state.replica.alarm))
    assert order(effects, Publish, Wake) == [Publish, Wake]


def test_receipts_and_what_cannot_be_read_are_acknowledged():
    receipt = Receipt(federation=NAME, client="ann", base=0, outcome="folded", staleness=0, weight=256, version=0, reason="")
    assert step(NEW, ReceiptArrived(tag=2, receipt=receipt)) == (NEW, (Note(receipt=receipt), Acknowledge(tags=(2,))))
    delivery = Delivery(tag=3, queue="q", key="round", body=b"rubbish")
    assert step(NEW, Undecodable(delivery=delivery, reason="not msgpack")) == (NEW, (Acknowledge(tags=(3,)),))


def quarantined(base=0):
    receipt = Receipt(
        federation=NAME, client="ann", base=base, outcome="quarantined", staleness=0, weight=0, version=base, reason="excluded"
    )
    return ReceiptArrived(tag=5, receipt=receipt)


def test_a_client_that_is_quarantined_stops_training_and_follows_on(heads):
    state, effects = feed(training(heads), quarantined())
    assert of(Abandon, effects) == [Abandon(base=0)]
    assert effects[1] == Note(receipt=quarantined().receipt)
    state, effects = feed(state, mail(heads[1].round), mail(heads[2].round))
    assert not of(Train, effects)
    assert state.replica.held.version == 2


def test_a_client_that_is_quarantined_trains_again_once_it_is_started_again(heads):
    state, _ = feed(training(heads), quarantined())
    again = replace(state, quarantined=False)  # as the disk has it
    assert of(Train, feed(again, Started(), mail(heads[1].round))[1])


def test_a_second_notice_of_quarantine_changes_nothing(heads):
    state, _ = feed(training(heads), quarantined())
    assert feed(state, quarantined(1))[1] == (Note(receipt=quarantined(1).receipt), Acknowledge(tags=(5,)))
