"""What we say to RabbitMQ and how its words are read, without a broker."""

import struct
from random import Random

import pytest

from fedkseed.errors import SettingError
from fedkseed.transport.door import ORIGIN, REASON
from fedkseed.transport.line import HEARTBEAT_SECONDS, Server, read_frame
from fedkseed.transport.pauses import Pauses
from fedkseed.transport.topology import personal, shared
from fedkseed.transport.words import headers, text

F = "f"


def test_pauses_double_up_to_a_bound_and_are_not_alike():
    pauses, dice = Pauses(shortest_seconds=1.0, longest_seconds=10.0), Random(1)
    for failures, whole in ((1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (5000, 10.0)):
        drawn = {pauses.seconds(failures, dice) for _ in range(50)}
        assert len(drawn) == 50
        assert whole / 2 <= min(drawn) < max(drawn) <= whole


@pytest.mark.parametrize(
    "url", ["http://rabbit", "rabbit:5672", "amqp://user:secret@rabbit:port/", "amqps://rabbit?heartbeat=x"]
)
def test_a_url_that_is_none_of_rabbitmq_is_refused_without_telling_the_password(url):
    with pytest.raises(SettingError) as caught:
        Server(url, "test").parameters("publishing")
    assert "secret" not in str(caught.value)


def header_frame(table: bytes, body: int = 7) -> bytes:
    """A content header as RabbitMQ sends it, with a table of headers in AMQP's own bytes."""
    payload = struct.pack(">HHQH", 60, 0, body, 1 << 13) + struct.pack(">I", len(table)) + table
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


@pytest.mark.parametrize(
    "value",
    [
        b"T" + b"\xff" * 8,
        b"d" + struct.pack(">d", float("nan")),
        b"f" + struct.pack(">f", float("inf")),
        b"D\xff\x7f\xff\xff\xff",
        b"A\x00\x00\x00\x05" * 2000,
        b"F\x00\x00\x00\x08\x01a" * 2000,
        b"?",
        b"",
    ],
)
def test_headers_that_pika_stumbles_over_are_left_out_and_the_letter_is_read(value):
    octets = header_frame(b"\x01a" + value)
    length, read = read_frame(octets + b"\x03")
    assert length == len(octets)
    assert read.body_size == 7
    assert headers(read.properties.headers) == {}


@pytest.mark.parametrize(
    "table", [b"\x01\xffS\x00\x00\x00\x01a", b"\x01aS\x00\x00\x00\x01\xff", b"\x01aV", b"\x01al" + bytes(8)]
)
def test_headers_that_are_no_text_are_left_out(table):
    _, read = read_frame(header_frame(table))
    assert headers(read.properties.headers) == {}


def test_a_frame_is_waited_for_until_it_is_complete():
    assert read_frame(header_frame(b"")[:-1]) == (0, None)


def test_heartbeats_are_ours_unless_the_url_says_otherwise():
    assert Server("amqp://rabbit", "test").parameters("publishing").heartbeat == HEARTBEAT_SECONDS
    assert Server("amqp://rabbit?heartbeat=7", "test").parameters("publishing").heartbeat == 7


def test_each_line_has_a_name_that_an_operator_can_read():
    parameters = Server("amqp://rabbit", "client ann").parameters("consuming")
    assert parameters.client_properties == {"connection_name": "client ann, consuming"}


def test_letters_are_signed_and_without_headers_where_there_are_none():
    server = Server("amqp://ann:secret@rabbit", "test")
    assert server.properties({}).headers is None
    signed = server.properties({"reason": "because"})
    assert (signed.user_id, signed.delivery_mode, signed.headers) == ("ann", 2, {"reason": "because"})


def test_headers_that_the_broker_adds_are_left_out_except_why_it_gave_up_and_how_it_had_come():
    table = {"x-delivery-count": 3, "x-first-death-reason": "delivery_limit", "x-death": [], "number": 1, "word": "w"}
    assert headers(table) == {"word": "w", REASON: "delivery_limit", ORIGIN: ""}
    assert headers({**table, REASON: "ours"}) == {"word": "w", REASON: "ours", ORIGIN: ""}
    assert headers(None) == {}


@pytest.mark.parametrize(
    ("deaths", "origin"),
    [
        ([{"routing-keys": ["update.ann"], "count": 1}], "update.ann"),
        ([{"routing-keys": [b"update.\xff"]}, {"routing-keys": ["update.old"]}], "update.\ufffd"),
        ([{"routing-keys": []}], ""),
        (["forged"], ""),
        ("forged", ""),
    ],
)
def test_how_a_letter_had_come_that_the_broker_gave_up_is_what_the_broker_says(deaths, origin):
    table = {"x-first-death-reason": "delivery_limit", "x-death": deaths, ORIGIN: "update.somebody"}
    assert headers(table)[ORIGIN] == origin


def test_a_routing_key_need_not_be_text():
    assert (text("update.ann"), text(b"update.\xff")) == ("update.ann", "update.\ufffd")


def test_every_queue_states_its_limits():
    stated = {"x-queue-type", "x-max-length", "x-max-length-bytes", "x-overflow", "x-delivery-limit"}
    for queue in (*shared(F).queues, *personal(F, "ann").queues):
        assert stated <= set(queue.arguments)
        assert queue.arguments["x-queue-type"] == "quorum"


def test_updates_wait_for_the_aggregator_and_go_to_the_dead_after_too_many_deliveries():
    updates = {queue.name: queue for queue in shared(F).queues}["fedkseed.f.updates"]
    assert updates.arguments == {
        "x-queue-type": "quorum",
        "x-quorum-initial-group-size": 3,
        "x-queue-leader-locator": "balanced",
        "x-max-length": 100_000,
        "x-max-length-bytes": 1 << 30,
        "x-overflow": "reject-publish",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "fedkseed.f.dead",
        "x-dead-letter-routing-key": "dead",
        "x-dead-letter-strategy": "at-least-once",
    }


def test_what_belongs_to_a_participant_is_bounded_and_expires():
    for queue in personal(F, "ann").queues:
        assert queue.arguments["x-overflow"] == "drop-head"
        assert queue.arguments["x-expires"] == 7 * 24 * 3600 * 1000
        assert "x-dead-letter-exchange" not in queue.arguments
