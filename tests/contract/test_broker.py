"""What every broker adapter does, whatever is behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fedkseed.transport.broker import Broker, Confirmed, Delivery, Envelope, Notice
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import (
    Address,
    Binding,
    Queue,
    Topology,
    evaluations_queue,
    mailbox_queue,
    personal,
    receipts_queue,
    shared,
    snapshots_queue,
    to_aggregator,
    to_all,
    to_client,
    to_dead,
    to_mailbox,
    updates_queue,
)

F = "f"


@dataclass
class Adapter:
    """How to reach one adapter: a new connection, and waiting until a condition holds."""

    connect: Callable[[], Broker]
    until: Callable[[Callable[[], bool]], None]


def memory() -> Adapter:
    def until(condition):
        assert condition()  # notices are given at once

    return Adapter(connect=MemoryBroker().connect, until=until)


@pytest.fixture(params=[memory])
def adapter(request) -> Adapter:
    return request.param()


@dataclass
class Owner:
    """Somebody at a connection: keeps what it was told."""

    broker: Broker
    notices: list[Notice] = field(default_factory=list)

    @property
    def deliveries(self) -> list[Delivery]:
        return [notice for notice in self.notices if isinstance(notice, Delivery)]

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    def send(self, to, *bodies, token=0, headers=None):
        self.broker.publish(token, [Envelope(to=to, body=body, headers=headers or {}) for body in bodies])


def somebody(adapter, topology, *queues) -> Owner:
    owner = Owner(adapter.connect())
    owner.broker.start(topology, queues, owner.notices.append)
    return owner


def address(exchange, key) -> Address:
    return Address(exchange=exchange, key=key)


def aggregator(adapter, *queues) -> Owner:
    return somebody(adapter, shared(F), *queues)


def participant(adapter, name) -> Owner:
    return somebody(adapter, shared(F) | personal(F, name), mailbox_queue(F, name), receipts_queue(F, name))


def test_a_letter_reaches_the_queue_that_its_key_is_bound_to(adapter):
    sender = aggregator(adapter)
    updates, snapshots, evaluations = (
        aggregator(adapter, queue(F)) for queue in (updates_queue, snapshots_queue, evaluations_queue)
    )
    for kind in ("update", "snapshot", "evaluation", "gossip"):
        sender.send(to_aggregator(F, kind, "ann"), kind.encode())
    adapter.until(lambda: updates.bodies == [b"update"])
    adapter.until(lambda: snapshots.bodies == [b"snapshot"])
    adapter.until(lambda: evaluations.bodies == [b"evaluation"])


def test_a_delivery_says_where_it_came_from_and_with_what_headers(adapter):
    owner = aggregator(adapter, updates_queue(F))
    owner.send(to_aggregator(F, "update", "ann"), b"body", headers={"reason": "because"})
    adapter.until(lambda: len(owner.deliveries) == 1)
    delivery = owner.deliveries[0]
    assert (delivery.queue, delivery.key, delivery.redelivered) == (updates_queue(F), "update.ann", False)
    assert delivery.headers == {"reason": "because"}


def test_a_round_reaches_every_mailbox(adapter):
    ann, bob = participant(adapter, "ann"), participant(adapter, "bob")
    aggregator(adapter).send(to_all(F), b"round")
    adapter.until(lambda: ann.bodies == bob.bodies == [b"round"])


def test_a_snapshot_reaches_the_mailbox_that_asked(adapter):
    ann, bob = participant(adapter, "ann"), participant(adapter, "bob")
    aggregator(adapter).send(to_mailbox(F, "ann"), b"snapshot")
    adapter.until(lambda: ann.bodies == [b"snapshot"])
    assert ann.deliveries[0].queue == mailbox_queue(F, "ann")
    assert bob.bodies == []


def test_a_receipt_reaches_its_client(adapter):
    ann, bob = participant(adapter, "ann"), participant(adapter, "bob")
    aggregator(adapter).send(to_client(F, "ann"), b"receipt")
    adapter.until(lambda: ann.bodies == [b"receipt"])
    assert ann.deliveries[0].queue == receipts_queue(F, "ann")
    assert bob.bodies == []


def test_a_publication_is_confirmed_once_under_its_token(adapter):
    owner = aggregator(adapter)
    owner.send(to_aggregator(F, "update", "ann"), b"one", b"two", token=7)
    adapter.until(lambda: owner.notices == [Confirmed(token=7)])


def test_a_letter_for_nobody_is_confirmed(adapter):
    owner = aggregator(adapter)
    owner.send(to_client(F, "nobody"), b"receipt", token=1)
    owner.send(to_mailbox(F, "nobody"), b"snapshot", token=2)
    adapter.until(lambda: owner.notices == [Confirmed(token=1), Confirmed(token=2)])


def test_letters_keep_their_order(adapter):
    owner = aggregator(adapter, updates_queue(F))
    bodies = [bytes([i]) for i in range(20)]
    owner.send(to_aggregator(F, "update", "ann"), *bodies[:10])
    owner.send(to_aggregator(F, "update", "bob"), *bodies[10:])
    adapter.until(lambda: owner.bodies == bodies)


def test_letters_wait_for_a_consumer(adapter):
    aggregator(adapter).send(to_aggregator(F, "update", "ann"), b"early")
    owner = aggregator(adapter, updates_queue(F))
    adapter.until(lambda: owner.bodies == [b"early"])


def test_what_was_not_acknowledged_is_delivered_again_after_the_connection_ended(adapter):
    first = aggregator(adapter, updates_queue(F))
    first.send(to_aggregator(F, "update", "ann"), b"one", b"two", b"three")
    adapter.until(lambda: len(first.deliveries) == 3)
    first.broker.acknowledge([first.deliveries[1].tag])
    first.broker.close()
    second = aggregator(adapter, updates_queue(F))
    adapter.until(lambda: second.bodies == [b"one", b"three"])
    assert all(delivery.redelivered for delivery in second.deliveries)


def test_what_was_not_acknowledged_comes_before_what_came_later(adapter):
    first = aggregator(adapter, updates_queue(F))
    first.send(to_aggregator(F, "update", "ann"), b"one", b"two")
    adapter.until(lambda: len(first.deliveries) == 2)
    first.broker.close()
    aggregator(adapter).send(to_aggregator(F, "update", "ann"), b"three")
    second = aggregator(adapter, updates_queue(F))
    adapter.until(lambda: second.bodies == [b"one", b"two", b"three"])


def test_what_was_acknowledged_never_comes_again(adapter):
    first = aggregator(adapter, updates_queue(F))
    first.send(to_aggregator(F, "update", "ann"), b"one")
    adapter.until(lambda: len(first.deliveries) == 1)
    first.broker.acknowledge([first.deliveries[0].tag])
    first.broker.close()
    second = aggregator(adapter, updates_queue(F))
    second.send(to_aggregator(F, "update", "ann"), b"two")
    adapter.until(lambda: second.bodies == [b"two"])


def test_acknowledging_twice_or_what_never_came_does_nothing(adapter):
    owner = aggregator(adapter, updates_queue(F))
    owner.send(to_aggregator(F, "update", "ann"), b"one")
    adapter.until(lambda: len(owner.deliveries) == 1)
    owner.broker.acknowledge([owner.deliveries[0].tag] * 2)
    owner.broker.acknowledge([12345])
    owner.send(to_aggregator(F, "update", "ann"), b"two")
    adapter.until(lambda: owner.bodies == [b"one", b"two"])


def test_two_consumers_share_a_queue(adapter):
    one, two = aggregator(adapter, updates_queue(F)), aggregator(adapter, updates_queue(F))
    one.send(to_aggregator(F, "update", "ann"), *(bytes([i]) for i in range(10)))
    adapter.until(lambda: sorted(one.bodies + two.bodies) == [bytes([i]) for i in range(10)])
    assert one.bodies
    assert two.bodies


def test_the_other_consumer_gets_what_a_dead_one_held(adapter):
    one, two = aggregator(adapter, updates_queue(F)), aggregator(adapter, updates_queue(F))
    one.send(to_aggregator(F, "update", "ann"), b"one", b"two")
    adapter.until(lambda: len(one.bodies) == len(two.bodies) == 1)
    one.broker.close()
    adapter.until(lambda: sorted(two.bodies) == [b"one", b"two"])


def test_a_closed_connection_is_told_nothing(adapter):
    owner = participant(adapter, "ann")
    owner.broker.close()
    aggregator(adapter).send(to_all(F), b"round")
    again = participant(adapter, "ann")
    adapter.until(lambda: again.bodies == [b"round"])
    assert owner.notices == []


def test_a_queue_that_is_full_drops_its_oldest(adapter):
    topology = Topology(exchanges=("x",), queues=(Queue(name="q", max_length=2),), bindings=())
    somebody(adapter, topology).send(address("", "q"), b"one", b"two", b"three")
    owner = somebody(adapter, topology, "q")
    adapter.until(lambda: owner.bodies == [b"two", b"three"])


def test_the_broker_remembers_the_last_announcement(adapter):
    aggregator(adapter).send(to_all(F), b"one", b"two")
    owner = aggregator(adapter, f"fedkseed.{F}.last")
    adapter.until(lambda: owner.bodies == [b"two"])


def test_dead_letters_have_a_queue_and_keep_their_reason(adapter):
    aggregator(adapter).send(to_dead(F), b"rubbish", headers={"reason": "not msgpack"})
    owner = aggregator(adapter, f"fedkseed.{F}.dead")
    adapter.until(lambda: [(d.body, d.headers) for d in owner.deliveries] == [(b"rubbish", {"reason": "not msgpack"})])


def test_declaring_twice_changes_nothing(adapter):
    ann, again = participant(adapter, "ann"), participant(adapter, "ann")
    aggregator(adapter).send(to_all(F), b"round")
    adapter.until(lambda: ann.bodies + again.bodies == [b"round"])


def test_a_letter_comes_once_to_a_queue_that_is_bound_twice(adapter):
    bindings = (Binding(exchange="x", queue="q", pattern="a.*"), Binding(exchange="x", queue="q", pattern="*.b"))
    topology = Topology(exchanges=("x",), queues=(Queue(name="q"),), bindings=bindings)
    owner = somebody(adapter, topology, "q")
    owner.send(address("x", "a.b"), b"both")
    owner.send(address("x", "a.b.c"), b"none")
    owner.send(address("x", "a.c"), b"first")
    adapter.until(lambda: owner.bodies == [b"both", b"first"])


def test_two_federations_do_not_meet(adapter):
    mine, other = aggregator(adapter, updates_queue(F)), somebody(adapter, shared("g"), updates_queue("g"))
    other.send(to_aggregator("g", "update", "ann"), b"theirs")
    adapter.until(lambda: other.bodies == [b"theirs"])
    assert mine.bodies == []
