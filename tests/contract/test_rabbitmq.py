"""What only a real broker does to letters and to those who send them: it refuses, returns, and gives letters up."""

import queue
from random import Random

import pika
import pytest

from fedkseed.errors import BrokerDenied, TopologyMismatch
from fedkseed.ledger.fold import found
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.reactor import Reactor
from fedkseed.transport.broker import Confirmed, Notice, Unconfirmed
from fedkseed.transport.condition import Disconnected, Refused, Returned
from fedkseed.transport.door import ORIGIN, REASON, Acknowledge
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import (
    DELIVERY_LIMIT,
    Address,
    Queue,
    Topology,
    dead_queue,
    shared,
    to_aggregator,
    to_client,
    updates_queue,
)
from fedkseed_aggregator import machine, shell
from fedkseed_aggregator.events import Started
from tests.ledgers import NAME, genesis, policy
from tests.parties import BRIEF, UPDATES, F, RealPlace, at


def raw(rabbit, vhost) -> pika.BlockingConnection:
    """Somebody who does not keep our rules."""
    return pika.BlockingConnection(pika.URLParameters(rabbit.url(vhost)))


def one(queue_: Queue) -> Topology:
    return Topology(exchanges=(), queues=(queue_,), bindings=())


def to(queue_: str) -> Address:
    return Address(exchange="", key=queue_)


@pytest.mark.parametrize("how", [{"password": "wrong"}, {"user": "nobody"}], ids=["password", "user"])
def test_wrong_credentials_are_an_error_at_the_start(rabbit, vhost, how):
    place = at(rabbit.url(vhost, **how))
    with pytest.raises(BrokerDenied, match="ACCESS_REFUSED") as caught:
        place.aggregator()
    assert caught.value.exit_code == 71


def test_a_virtual_host_that_is_not_there_is_an_error_at_the_start(rabbit):
    with pytest.raises(BrokerDenied, match="vhost nowhere not found"):
        at(rabbit.url("nowhere")).aggregator()


def test_rights_that_are_not_enough_are_an_error_at_the_start(rabbit, vhost):
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann", configure=f"fedkseed.{F}.(client|receipts).ann")
    with pytest.raises(BrokerDenied, match=f"fedkseed.{F}.rounds"):
        at(rabbit.url(vhost, user="ann", password="ann")).aggregator()
    rabbit.remove_user("ann")


def test_a_look_without_the_right_to_read_is_an_error(rabbit, vhost, place):
    place.aggregator()
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann", read="nothing")
    broker = at(rabbit.url(vhost, user="ann", password="ann")).connect()
    with pytest.raises(BrokerDenied, match=updates_queue(F)):
        broker.look(updates_queue(F))
    broker.close()
    rabbit.remove_user("ann")


def test_a_queue_that_was_declared_in_another_way_is_an_error_that_names_it(place):
    place.somebody(one(Queue(name="q", max_length=5)))
    with pytest.raises(TopologyMismatch, match=r"x-max-length.*'q'"):
        place.somebody(one(Queue(name="q", max_length=6)))


def test_a_receipt_for_nobody_is_returned_and_confirmed(place):
    owner = place.aggregator()
    owner.send(to_client(F, "nobody"), b"receipt", token=1)
    place.until(lambda: owner.notices == [Confirmed(token=1)])
    assert Returned(exchange=f"fedkseed.{F}.receipts", key="nobody", required=False) in place.conditions
    assert not place.saw(Disconnected)


def test_a_full_queue_is_reported_and_not_stormed(place):
    owner = place.somebody(one(Queue(name="q", max_length=1, overflow="reject-publish")))
    while not place.saw(Refused):  # the queue is not exact about its length
        before = len(owner.notices)
        owner.send(to("q"), b"letter", token=before)
        place.until(lambda before=before: len(owner.notices) > before)
    tokens = range(1000, 1100)
    for token in tokens:
        owner.send(to("q"), b"letter", token=token)
    place.until(lambda: owner.notices[-100:] == [Unconfirmed(token=token) for token in tokens])
    assert sum(isinstance(condition, Refused) for condition in place.conditions) < 50
    assert not place.saw(Disconnected)


def test_letters_are_persistent_and_signed(rabbit, vhost, place):
    owner = place.aggregator()
    owner.send(UPDATES, b"one", token=1)
    place.until(lambda: owner.notices == [Confirmed(token=1)])
    with raw(rabbit, vhost) as connection:
        _, properties, body = connection.channel().basic_get(updates_queue(F))
    assert (properties.delivery_mode, properties.user_id, body) == (2, "guest", b"one")


def test_the_broker_does_not_take_a_letter_with_the_name_of_somebody_else(rabbit, vhost):
    place = RealPlace(connect=lambda: None, patience_seconds=60.0)
    server = Server(rabbit.url(vhost), "test")
    place.connect = lambda: RabbitBroker(server, dice=Random(0), observe=place.hear(place.conditions), pauses=BRIEF)
    owner = place.aggregator()
    server.user = "bob"
    owner.send(UPDATES, b"one", token=1, headers={"signed": "by bob"})
    place.until(lambda: owner.notices == [Unconfirmed(token=1)])
    assert any("user_id" in condition.reason for condition in place.conditions if isinstance(condition, Disconnected))
    place.close()


def test_a_letter_that_kills_its_readers_ends_among_the_dead(place):
    dead = place.aggregator(dead_queue(F))
    dead.send(UPDATES, b"poison", token=1)
    for _ in range(DELIVERY_LIMIT + 1):
        reader = place.aggregator(updates_queue(F))
        place.until(lambda reader=reader: reader.bodies == [b"poison"])
        reader.broker.close()
    place.until(lambda: dead.bodies == [b"poison"])
    assert dead.deliveries[0].headers == {REASON: "delivery_limit", ORIGIN: UPDATES.key}


def test_a_routing_key_that_is_no_text_kills_nobody(rabbit, vhost, place):
    owner = place.aggregator(updates_queue(F))
    with raw(rabbit, vhost) as connection:
        connection.channel().basic_publish(UPDATES.exchange, b"update.\xff", b"letter")
    place.until(lambda: owner.bodies == [b"letter"])
    assert owner.deliveries[0].key == "update.\ufffd"


def test_what_an_aggregator_cannot_read_is_among_the_dead_before_it_is_acknowledged(place):
    inbox: queue.SimpleQueue[Notice] = queue.SimpleQueue()
    broker = place.connect()
    broker.start(shared(NAME), shell.queues(NAME), inbox.put)
    store = MemoryLedger(found(genesis(), policy(), 1000.0), lambda: 1000.0)
    carry_out = shell.Shell(store=store, broker=broker, wake=lambda *_: None).carry_out
    seen: list[object] = []
    reactor = Reactor(machine.State(federation=NAME), machine.step, carry_out, seen.append)
    reactor.feed(Started())
    reader = place.somebody(shared(NAME), dead_queue(NAME))
    reader.send(to_aggregator(NAME, "update", "ann"), b"\xc1", token=1)
    while not any(isinstance(effect, Acknowledge) for effect in seen):
        for event in shell.events([inbox.get(timeout=place.patience_seconds)]):
            reactor.feed(event)
    broker.close()
    place.until(lambda: reader.bodies == [b"\xc1"])
    assert reader.deliveries[0].headers[REASON].startswith("not msgpack")
    assert reader.deliveries[0].headers[ORIGIN] == "update.ann"
    again = place.somebody(shared(NAME), updates_queue(NAME))
    reader.send(to_aggregator(NAME, "update", "ann"), b"next", token=2)
    place.until(lambda: again.bodies == [b"next"])


def test_thousands_of_letters_are_each_delivered_confirmed_and_acknowledged(rabbit, vhost):
    place = at(rabbit.url(vhost), prefetch=1000)
    sender, reader = place.aggregator(), place.somebody(shared(F), updates_queue(F))
    for token in range(200):
        sender.send(UPDATES, *(token.to_bytes(2, "little") + bytes([i]) for i in range(25)), token=token)
    place.until(lambda: len(reader.deliveries) == 1000)  # the prefetch
    for batch in range(5):
        place.until(lambda batch=batch: len(reader.deliveries) == 1000 * (batch + 1))
        tags = [delivery.tag for delivery in reader.deliveries[1000 * batch : 1000 * (batch + 1)]]
        reader.broker.acknowledge(tags[1::2])
        reader.broker.acknowledge(tags[0::2])
    place.until(lambda: sorted(notice.token for notice in sender.notices) == list(range(200)))
    assert all(isinstance(notice, Confirmed) for notice in sender.notices)
    assert len(set(reader.bodies)) == 5000
    reader.broker.close()
    again = place.somebody(shared(F), updates_queue(F))
    sender.send(UPDATES, b"next")
    place.until(lambda: again.bodies == [b"next"])
    place.close()


def test_headers_that_the_library_stumbles_over_kill_no_reader(rabbit, vhost):
    """A time beyond the calendar is enough: without care it ends the thread of whoever reads, at each delivery anew."""
    place = at(rabbit.url(vhost))
    reader = place.aggregator(updates_queue(F))
    poisons = [b"T" + b"\xff" * 8, b"T\x00\x00\x7f" + bytes(5), b"D\xff\x7f\xff\xff\xff"]
    with raw(rabbit, vhost) as stranger:
        channel = stranger.channel()
        for properties in (*map(Poisoned, poisons), pika.BasicProperties(headers={"ok": "text"})):
            channel.basic_publish(UPDATES.exchange, UPDATES.key, b"body", properties)
        place.until(lambda: len(reader.deliveries) == 4)
    assert [delivery.headers for delivery in reader.deliveries] == [{}, {}, {}, {"ok": "text"}]
    assert [delivery.redelivered for delivery in reader.deliveries] == [False] * 4
    place.close()


class Poisoned(pika.BasicProperties):
    """Properties with one header, whose value is written in AMQP's own bytes."""

    def __init__(self, value: bytes) -> None:
        super().__init__()
        self._table = b"\x01n" + value

    def encode(self) -> list[bytes]:
        return [b"\x20\x00" + len(self._table).to_bytes(4, "big") + self._table]
