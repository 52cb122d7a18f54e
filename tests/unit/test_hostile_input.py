"""Attacks on messages, each through the door and into a ledger: what they are answered with, and that nothing else happens."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from fedkseed.codec import decode, encode
from fedkseed.errors import DecodeError
from fedkseed.ledger import records
from fedkseed.ledger.fold import fold
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.messages import Receipt
from fedkseed.transport.broker import Delivery
from fedkseed.transport.door import unseal
from tests.ledgers import NAME, K, at_version, ledger, ledger_bytes, update

STEPS = 8


@pytest.fixture
def head():
    return at_version(ledger(cohort=4, steps=STEPS, max_staleness=1), 2)[0]


def through(message, key=None):
    """A message as it comes out of the door."""
    return unseal(Delivery(tag=1, queue="q", key=key or f"update.{message.client}", body=encode(message)))


def sums(head):
    return ledger_bytes(replace(head, inbox={}), ())


def refused(head, message):
    """The receipt of an update that changes nothing but answers."""
    after, told = fold(head, [through(message)], 5.0)
    assert sums(after) == sums(head)
    (receipt,) = told.receipts
    assert receipt.weight == 0
    return receipt


def test_a_replayed_update_counts_once_whatever_it_says_the_second_time(head):
    after, first = fold(head, [through(update(head, "ann"))], 5.0)
    for again in (update(head, "ann"), update(head, "ann", g=(9.0,)), update(head, "ann", n=4096)):
        later, second = fold(after, [through(again)], 6.0)
        assert later is after
        assert second.receipts == first.receipts


@pytest.mark.parametrize("key", ["update.bob", "update.ann.bob", "snapshot.ann", "evaluation.ann", "round", "", "update."])
def test_a_name_that_is_not_the_senders_does_not_come_in(head, key):
    with pytest.raises(DecodeError, match="routing key"):
        through(update(head, "ann"), key or "x")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"federation": "another"}, "mismatch"),
        ({"state": bytes(16)}, "mismatch"),
        ({"base": 2**63 - 1}, "ahead"),
        ({"base": 0}, "stale"),
        ({"n": 0}, "invalid"),
        ({"g": (np.nan,)}, "invalid"),
        ({"g": (np.inf,)}, "invalid"),
        ({"g": (-np.inf,)}, "invalid"),
        ({"g": (65504.0,)}, "invalid"),
        ({"k": (K,)}, "invalid"),
        ({"k": (65535,)}, "invalid"),
        ({"k": range(STEPS + 1), "g": (1.0,) * (STEPS + 1)}, "invalid"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_no_sum(head, fault, outcome):
    changes = {name: value for name, value in fault.items() if name not in ("k", "g")}
    plain = update(head, "ann", **{name: value for name, value in fault.items() if name in ("k", "g")})
    assert refused(head, replace(plain, **changes)).outcome == outcome


@pytest.mark.parametrize("scalar", [-0.0, 6e-8, -6e-8, 32768.0, -32768.0])
def test_scalars_at_the_edges_add_exactly_what_they_are(head, scalar):
    before = head.pending.numerators
    after, told = fold(head, [through(update(head, "ann", k=(3,), g=(scalar,)))], 5.0)
    half = float(np.float16(scalar))
    assert (after.pending.numerators - before)[3] == told.receipts[0].weight * round(half * 65536)


def test_an_absurd_number_of_examples_weighs_no_more_than_the_most_that_counts(head):
    _, absurd = fold(head, [through(update(head, "ann", n=2**63 - 1))], 5.0)
    _, most = fold(head, [through(update(head, "bob", n=4096))], 5.0)
    assert absurd.receipts[0].weight == most.receipts[0].weight


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf"), 3e38, -3e38])
@pytest.mark.parametrize("seconds", [-1.0, 1e300, -1e300, 0.0])
def test_a_loss_or_a_time_that_is_none_spoils_nothing_that_is_kept(head, loss, seconds):
    store = MemoryLedger(head, lambda: 5.0)
    message = through(update(head, "ann", loss=loss, seconds=seconds))
    store.transact(lambda head, now: fold(head, [message], now))
    for seen in store.clients().values():
        json.loads(records.last_seen_bytes(seen), parse_constant=pytest.fail)
    for report in store.reports().values():
        assert all(isinstance(value, int) for value in asdict(report).values())


@pytest.mark.parametrize("later", [2, 255, 2**63])
def test_a_later_schema_is_not_guessed_at(head, later):
    body = encode(update(head, "ann")).replace(b"\xa1v\x01", b"\xa1v\xcf" + later.to_bytes(8, "big"), 1)
    with pytest.raises(DecodeError, match="unknown schema"):
        decode(body)


def test_one_who_answers_for_the_aggregator_is_not_heard_by_it(head):
    receipt = Receipt(federation=NAME, client="ann", base=2, outcome="folded", staleness=0, weight=1, version=2, reason="")
    from fedkseed_aggregator import shell

    for message, key in ((receipt, "update.ann"), (head.round, "update.ann"), (head.round, "evaluation.ann")):
        (event,) = shell.events([Delivery(tag=1, queue="q", key=key, body=encode(message))])
        assert "in queue q" in event.reason
