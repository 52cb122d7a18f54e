"""The door: what may come in, and how letters leave."""

from dataclasses import replace

import pytest

from fedkseed.codec import encode
from fedkseed.errors import DecodeError
from fedkseed.messages import SnapshotRequest
from fedkseed.transport.broker import Delivery
from fedkseed.transport.door import Letter, misplaced, seal, unseal
from fedkseed.transport.topology import to_aggregator, to_all, to_dead
from fedkseed_aggregator import shell as aggregator
from fedkseed_aggregator.events import Arrival, EvaluationArrived, SnapshotAsked, UpdatesArrived
from fedkseed_client import shell as client
from fedkseed_evaluator import shell as evaluator
from tests.ledgers import NAME, evaluation, ledger, update

HEAD = ledger()
REQUEST = SnapshotRequest(federation=NAME, client="ann", have=None)
SCORES = evaluation(HEAD, 0, loss=1.0)


def delivery(message, key, tag=1):
    body = message if isinstance(message, bytes) else encode(message)
    return Delivery(tag=tag, queue="q", key=key, body=body)


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (update(HEAD, "ann"), "update.ann"),
        (REQUEST, "snapshot.ann"),
        (SCORES, "evaluation.evaluator"),
        (HEAD.round, "round"),
    ],
)
def test_a_message_comes_in_by_its_own_key(message, key):
    assert unseal(delivery(message, key)) == message


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (update(HEAD, "ann"), "update.bob"),
        (update(HEAD, "ann"), "update.bob.ann"),
        (update(HEAD, "ann"), "snapshot.ann"),
        (REQUEST, "snapshot.bob"),
        (REQUEST, "update.ann"),
        (SCORES, "update.ann"),
        (SCORES, "evaluation.ann"),
        (SCORES, "evaluation"[:-1]),
    ],
)
def test_a_message_under_another_name_or_kind_stays_out(message, key):
    with pytest.raises(DecodeError, match=key):
        unseal(delivery(message, key))


@pytest.mark.parametrize("message", [update(HEAD, "ann"), REQUEST, replace(SCORES, client="ann")])
def test_where_participants_sign_nobody_signs_for_another(message):
    key = {"Update": "update", "SnapshotRequest": "snapshot", "Evaluation": "evaluation"}[type(message).__name__]
    letter = delivery(message, f"{key}.ann")
    for user in ("ann", "aggregator", "operator"):
        assert unseal(replace(letter, user=user), ("aggregator", "operator")) == message
    for user, told in (("bob", "bob"), ("", "nobody"), ("Ann", "Ann")):
        with pytest.raises(DecodeError, match=f"signed by {told}"):
            unseal(replace(letter, user=user), ("aggregator", "operator"))
    assert unseal(letter) == message


def test_what_the_aggregator_sends_is_signed_by_whom_the_broker_lets():
    assert unseal(replace(delivery(HEAD.round, "round"), user="aggregator"), ()) == HEAD.round


def test_rubbish_stays_out():
    with pytest.raises(DecodeError):
        unseal(delivery(b"rubbish", "update.ann"))


def test_a_letter_leaves_as_bytes_and_a_dead_one_with_its_reason_and_origin():
    plain = seal(Letter(to=to_all(NAME), content=HEAD.round))
    assert (plain.to, plain.body, plain.headers) == (to_all(NAME), encode(HEAD.round), {})
    dead = seal(Letter(to=to_dead(NAME), content=b"rubbish", reason="not msgpack", origin="update.ann"))
    assert (dead.body, dead.headers) == (b"rubbish", {"reason": "not msgpack", "origin": "update.ann"})


def test_a_key_says_what_comes_from_whom():
    assert to_aggregator(NAME, "update", "ann").key == "update.ann"


def test_the_aggregator_reads_the_updates_of_a_turn_as_one_batch():
    first, second = update(HEAD, "ann"), update(HEAD, "bob")
    notices = [delivery(first, "update.ann", 1), delivery(REQUEST, "snapshot.ann", 2), delivery(second, "update.bob", 3)]
    assert aggregator.events(notices) == (
        SnapshotAsked(arrival=Arrival(tag=2, message=REQUEST)),
        UpdatesArrived(arrivals=(Arrival(tag=1, message=first), Arrival(tag=3, message=second))),
    )
    assert aggregator.events([delivery(SCORES, "evaluation.evaluator")]) == (
        EvaluationArrived(arrival=Arrival(tag=1, message=SCORES)),
    )


@pytest.mark.parametrize(
    ("service", "message", "key"),
    [
        (aggregator, HEAD.round, "update.ann"),
        (client, update(HEAD, "ann"), "update.ann"),
        (evaluator, REQUEST, "snapshot.ann"),
    ],
)
def test_what_nobody_sends_to_a_service_is_dead(service, message, key):
    stray = delivery(message, key)
    assert service.events([stray]) == (misplaced(stray, message),)
    assert type(message).__name__ in misplaced(stray, message).reason


@pytest.mark.parametrize("service", [aggregator, client, evaluator])
def test_what_cannot_be_read_is_dead_with_its_reason(service):
    rubbish = replace(delivery(HEAD.round, "round"), body=b"rubbish")
    (event,) = service.events([rubbish])
    assert event.delivery == rubbish
    assert event.reason
