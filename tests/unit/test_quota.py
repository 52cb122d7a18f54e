"""Quotas: what an honest participant sends is let in, a flood is not, and nobody pays for another's."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed.codec import encode
from fedkseed.transport.broker import Confirmed, Delivery
from fedkseed.transport.door import Acknowledge
from fedkseed.transport.topology import evaluations_queue, snapshots_queue, updates_queue
from fedkseed_aggregator import machine, quota
from fedkseed_aggregator.events import Excess, UpdatesArrived
from fedkseed_aggregator.quota import Gate, Quota
from tests.ledgers import NAME, ledger, update

HEAD = ledger()
LIMITS = {"updates": 3, "snapshots": 1, "evaluations": 3}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def delivery(tag, client, queue=updates_queue, body=None):
    body = encode(update(HEAD, client)) if body is None else body
    return Delivery(tag=tag, queue=queue(NAME), key=f"update.{client}", body=body)


def admitted(kept, times, sender="ann"):
    return sum(kept.admits(sender, now) for now in times)


def test_a_whole_minutes_letters_may_come_at_once_and_then_one_at_a_time():
    kept = Quota(60)
    assert admitted(kept, [0.0] * 100) == 60
    assert admitted(kept, [1.0] * 100) == 1
    assert admitted(kept, [3.0] * 100) == 2
    assert admitted(kept, [1000.0] * 100) == 60


@given(st.lists(st.floats(0, 600), min_size=1, max_size=200), st.integers(1, 30))
def test_no_minute_has_more_than_two_minutes_letters_and_a_slow_sender_is_never_refused(times, limit):
    kept, times = Quota(limit), sorted(times)
    taken = [now for now in times if kept.admits("ann", now)]
    for first in taken:
        assert sum(first <= now <= first + 60 for now in taken) <= 2 * limit
    assert admitted(Quota(limit), [60.0 / limit * i for i in range(100)]) == 100


def test_one_senders_flood_takes_nothing_from_another():
    kept = Quota(10)
    admitted(kept, [0.0] * 10_000, "flood")
    assert admitted(kept, [0.0] * 10, "ann") == 10


def test_senders_beyond_number_are_forgotten_those_who_owe_least_first(monkeypatch):
    monkeypatch.setattr(quota, "SENDERS", 100)
    kept = Quota(10)
    assert admitted(kept, [0.0] * 20, "flood") == 10
    for number in range(1000):
        assert kept.admits(f"name-{number}", 0.0)
        assert len(kept) <= 100
    assert not kept.admits("flood", 0.0)


def test_a_gate_drops_what_is_too_much_unread_and_says_how_much(clock):
    gate = Gate(LIMITS, clock)
    notices = [*(delivery(tag, "flood") for tag in range(1, 6)), Confirmed(token=1), delivery(6, "ann")]
    excess, confirmed, arrived = gate(notices)
    assert excess == Excess(tags=(4, 5), dropped=Counter({("updates", "update.flood"): 2}))
    assert confirmed == Confirmed(token=1)
    assert isinstance(arrived, UpdatesArrived)
    assert [arrival.tag for arrival in arrived.arrivals] == [1, 2, 3, 6]
    clock.now += 60
    assert len(gate([delivery(7, "flood")])) == 1


def test_rubbish_counts_as_well_and_is_not_even_looked_at(clock):
    gate = Gate(LIMITS, clock)
    events = gate([delivery(tag, "flood", body=b"rubbish") for tag in range(1, 100)])
    assert len(events) == 1 + LIMITS["updates"]
    assert len(events[0].tags) == 99 - LIMITS["updates"]


def test_each_queue_has_a_quota_of_its_own(clock):
    gate = Gate(LIMITS, clock)
    notices = [
        delivery(n, "ann", queue, b"") for n, queue in enumerate([updates_queue, snapshots_queue, evaluations_queue] * 3)
    ]
    (excess, *_) = gate(notices)
    assert excess.dropped == {("snapshots", "update.ann"): 2}


def test_what_is_dropped_is_acknowledged_and_nothing_else_happens():
    state = machine.State(federation=NAME)
    after, effects = machine.step(state, Excess(tags=(4, 5), dropped={}))
    assert after is state
    assert effects == (Acknowledge(tags=(4, 5)),)
