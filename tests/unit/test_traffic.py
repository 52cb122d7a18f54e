"""What passes through a connection, as metrics: sizes, answers, what is held, and the conditions of its lines."""

import logging

import pytest

from fedkseed.codec import encode
from fedkseed.errors import DecodeError
from fedkseed.metrics.services import AggregatorMetrics
from fedkseed.metrics.transport import REASONS
from fedkseed.traffic import CLASSES, Traffic, name, origin, reason_class
from fedkseed.transport.broker import Confirmed, Delivery, Envelope, Unconfirmed
from fedkseed.transport.condition import Awaiting, Blocked, Connected, Disconnected, Refused, Returned, Unblocked, Waiting
from fedkseed.transport.door import Undecodable, misplaced, unseal
from fedkseed.transport.topology import mailbox_queue, personal, receipts_queue, shared, to_dead, updates_queue
from fedkseed.transport.watched import Acknowledged, Published
from tests.ledgers import NAME, ledger, update

QUEUE = updates_queue(NAME)
BODY = encode(update(ledger()))


class Seen:
    """Traffic with its metrics, and a clock to turn."""

    def __init__(self):
        self.now, self.waits, self.backlog = 0.0, 0, {}
        metrics = AggregatorMetrics()
        self.value = metrics.registry.value
        self.traffic = Traffic(
            metrics.transport, "guest", waiting=self._wait, backlog=self.backlog.__setitem__, clock=lambda: self.now
        )

    def _wait(self):
        self.waits += 1


@pytest.fixture
def seen():
    return Seen()


def delivery(tag, queue=QUEUE, body=BODY, **rest):
    return Delivery(tag=tag, queue=queue, key="update.ann", body=body, **rest)


def test_messages_are_counted_with_their_bytes_and_redeliveries(seen):
    seen.traffic.passed(delivery(1))
    seen.traffic.passed(delivery(2, redelivered=True))
    assert seen.value("messages_total", direction="received", message="update") == 2
    assert seen.value("message_bytes_total", direction="received", message="update") == 2 * len(BODY)
    assert 100 < seen.value("message_framed_bytes_total", direction="received", message="update") / 2 - len(BODY) < 200
    assert seen.value("redeliveries_total", message="update") == 1


def test_deliveries_are_held_until_they_are_acknowledged_or_the_line_is_lost(seen):
    for tag, queue in enumerate((QUEUE, QUEUE, mailbox_queue(NAME, "a"), receipts_queue(NAME, "a"))):
        seen.traffic.passed(delivery(tag, queue))
    seen.traffic.passed(Acknowledged(tags=(0, 99)))
    assert [seen.value("deliveries_held", queue=queue) for queue in ("updates", "mailbox", "receipts")] == [1, 1, 1]
    seen.traffic.became(Disconnected(line="consuming", reason="x", again_seconds=1.0))
    assert [seen.value("deliveries_held", queue=queue) for queue in ("updates", "mailbox", "receipts")] == [0, 0, 0]


def test_a_publication_is_outstanding_until_it_is_answered(seen):
    dead = Envelope(to=to_dead(NAME), body=BODY, headers={"reason": "x"})
    seen.traffic.passed(Published(token=1, envelopes=(dead,)))
    seen.traffic.passed(Published(token=2, envelopes=()))
    assert seen.value("publications_unconfirmed") == 2
    seen.traffic.passed(Confirmed(token=1))
    seen.traffic.passed(Unconfirmed(token=2))
    assert seen.value("publications_unconfirmed") == 0
    assert [seen.value("publications_total", answer=answer) for answer in ("confirmed", "unconfirmed")] == [1, 1]
    assert seen.value("messages_total", direction="sent", message="dead_letter") == 1


def test_a_service_is_not_ready_before_both_lines_are_up_and_while_one_is_down(seen):
    assert len(seen.traffic.missing()) == 2
    seen.traffic.became(Connected(line="publishing"))
    assert seen.traffic.missing() == ["the consuming line to the broker is down"]
    seen.traffic.became(Connected(line="consuming"))
    assert seen.traffic.missing() == []
    seen.traffic.became(Disconnected(line="publishing", reason="x", again_seconds=1.0))
    assert seen.traffic.missing() == ["the publishing line to the broker is down"]
    assert [seen.value("line_up", line=line) for line in ("publishing", "consuming")] == [0, 1]
    assert seen.value("disconnects_total", line="publishing") == 1


def test_a_service_that_waits_for_an_aggregator_says_so_until_its_line_is_up_or_lost(seen):
    awaiting = Awaiting(line="publishing", what="no exchange 'e'", again_seconds=1.0)
    waits = "the publishing line to the broker waits for what an aggregator declares: no exchange 'e'"
    seen.traffic.became(awaiting)
    assert seen.traffic.missing()[0] == waits
    seen.traffic.became(Disconnected(line="publishing", reason="x", again_seconds=1.0))
    assert waits not in seen.traffic.missing()
    seen.traffic.became(awaiting)
    seen.traffic.became(Connected(line="publishing"))
    assert seen.traffic.missing() == ["the consuming line to the broker is down"]


def test_only_a_broker_that_was_never_reached_is_waited_for(seen):
    lost = Disconnected(line="publishing", reason="x", again_seconds=1.0)
    seen.traffic.became(lost)
    assert seen.waits == 1
    seen.traffic.became(Connected(line="publishing"))
    seen.traffic.became(lost)
    assert seen.waits == 1


def test_time_that_a_broker_blocks_is_counted_once(seen):
    seen.traffic.became(Blocked(reason="low on memory"))
    seen.now = 3.0
    assert seen.value("broker_blocked") == 1
    seen.traffic.became(Disconnected(line="publishing", reason="x", again_seconds=1.0))
    seen.now = 5.0
    seen.traffic.became(Unblocked())
    assert (seen.value("broker_blocked"), seen.value("broker_blocked_seconds_total")) == (0, 3)


def test_returns_refusals_and_backlogs_are_counted(seen):
    seen.traffic.became(Returned(exchange="e", key="k", required=True))
    seen.traffic.became(Refused(again_seconds=1.0))
    seen.traffic.became(Waiting(queue=updates_queue(NAME), letters=7))
    assert (seen.value("returned_total", required="yes"), seen.value("refused_total")) == (1, 1)
    assert seen.backlog == {"updates": 7}


@pytest.mark.parametrize(
    ("body", "key", "reason"),
    [
        (bytes(1 << 21), "update.ann", "size"),
        (b"\xc1", "update.ann", "format"),
        (b"\x01", "update.ann", "format"),
        (b"\x80", "update.ann", "schema"),
        (b"\x82\xa1v\x01\xa1t\xa1x", "update.ann", "type"),
        (b"\x82\xa1v\x01\xa1t\xa6update", "update.ann", "content"),
        (BODY, "update.bob", "sender"),
    ],
)
def test_what_the_door_refuses_is_of_a_known_kind(body, key, reason, seen):
    refused = Delivery(tag=1, queue=updates_queue(NAME), key=key, body=body)
    with pytest.raises(DecodeError) as error:
        unseal(refused)
    seen.traffic.unreadable(Undecodable(delivery=refused, reason=str(error.value)))
    assert seen.value("dead_letters_total", reason=reason) == 1


def test_a_message_in_the_wrong_queue_is_of_a_known_kind():
    assert reason_class(misplaced(delivery(1), update(ledger())).reason) == "misplaced"
    assert {each for each, _ in CLASSES} == set(REASONS)


def test_letters_come_from_the_exchanges_that_their_queues_are_bound_to():
    topology = shared(NAME) | personal(NAME, "ann")
    bound = {binding.queue: binding.exchange for binding in topology.bindings}
    watched = [queue for queue in bound if not queue.endswith((".dead", ".last"))]
    assert {queue: origin(queue) for queue in watched} == {queue: bound[queue] for queue in watched}


def test_bytes_of_anybody_have_a_name():
    assert name(BODY) == "update"
    assert name(b"\xc1") == "unreadable"


def test_what_becomes_of_a_connection_is_said(seen, caplog):
    caplog.set_level(logging.INFO)
    seen.traffic.became(Connected(line="publishing"))
    seen.traffic.became(Disconnected(line="publishing", reason="gone", again_seconds=1.5))
    assert [(record.message, record.fedkseed) for record in caplog.records] == [
        ("connected", {"line": "publishing"}),
        ("disconnected", {"line": "publishing", "reason": "gone", "again_seconds": 1.5}),
    ]
