"""What every broker adapter does, whatever is behind it."""

from collections.abc import Iterator

import pytest

from fedkseed.errors import QueueMissing
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import (
    Address,
    Binding,
    Queue,
    Topology,
    dead_queue,
    evaluations_queue,
    last_queue,
    mailbox_queue,
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
from tests.parties import F, Place, at


@pytest.fixture(params=["memory", "rabbitmq"])
def place(request) -> Iterator[Place]:
    if request.param == "memory":
        yield Place(MemoryBroker().connect, patience_seconds=0.0)  # notices are given at once
        return
    place = at(request.getfixturevalue("rabbit").url(request.getfixturevalue("vhost")))
    yield place
    place.close()


def address(exchange, key) -> Address:
    return Address(exchange=exchange, key=key)


def test_a_letter_reaches_the_queue_that_its_key_is_bound_to(place):
    sender = place.aggregator()
    updates, snapshots, evaluations = (
        place.aggregator(queue(F)) for queue in (updates_queue, snapshots_queue, evaluations_queue)
    )
    for kind in ("gossip", "update", "snapshot", "evaluation"):
        sender.send(address(to_aggregator(F, kind, "ann").exchange, f"{kind}.ann"), kind.encode())
    place.until(lambda: updates.bodies == [b"update"])
    place.until(lambda: snapshots.bodies == [b"snapshot"])
    place.until(lambda: evaluations.bodies == [b"evaluation"])


def test_a_delivery_says_where_it_came_from_and_with_what_headers(place):
    owner = place.aggregator(updates_queue(F))
    owner.send(to_aggregator(F, "update", "ann"), b"body", headers={"reason": "because"})
    place.until(lambda: len(owner.deliveries) == 1)
    delivery = owner.deliveries[0]
    assert (delivery.queue, delivery.key, delivery.redelivered) == (updates_queue(F), "update.ann", False)
    assert delivery.headers == {"reason": "because"}


def test_a_round_reaches_every_mailbox(place):
    ann, bob = place.participant("ann"), place.participant("bob")
    place.aggregator().send(to_all(F), b"round")
    place.until(lambda: ann.bodies == bob.bodies == [b"round"])


def test_a_snapshot_reaches_the_mailbox_that_asked(place):
    ann, bob = place.participant("ann"), place.participant("bob")
    place.aggregator().send(to_mailbox(F, "ann"), b"snapshot")
    place.until(lambda: ann.bodies == [b"snapshot"])
    assert ann.deliveries[0].queue == mailbox_queue(F, "ann")
    place.aggregator().send(to_mailbox(F, "bob"), b"another")
    place.until(lambda: bob.bodies == [b"another"])


def test_a_receipt_reaches_its_client(place):
    ann, bob = place.participant("ann"), place.participant("bob")
    place.aggregator().send(to_client(F, "ann"), b"receipt")
    place.until(lambda: ann.bodies == [b"receipt"])
    assert ann.deliveries[0].queue == receipts_queue(F, "ann")
    place.aggregator().send(to_client(F, "bob"), b"another")
    place.until(lambda: bob.bodies == [b"another"])


def test_a_publication_is_confirmed_once_under_its_token(place):
    owner = place.aggregator()
    owner.send(to_aggregator(F, "update", "ann"), b"one", b"two", token=7)
    place.until(lambda: owner.notices == [Confirmed(token=7)])


def test_a_letter_for_nobody_is_confirmed(place):
    owner = place.aggregator()
    owner.send(to_client(F, "nobody"), b"receipt", token=1)
    owner.send(to_mailbox(F, "nobody"), b"snapshot", token=2)
    place.until(lambda: owner.notices == [Confirmed(token=1), Confirmed(token=2)])


def test_a_publication_of_no_letter_is_confirmed(place):
    owner = place.aggregator()
    owner.send(to_all(F), token=1)
    place.until(lambda: owner.notices == [Confirmed(token=1)])


def test_a_letter_that_must_arrive_is_not_confirmed_while_no_queue_is_for_it(place):
    exchange = Topology(exchanges=("x",), queues=(), bindings=())
    binding = Topology(exchanges=(), queues=(Queue(name="q"),), bindings=(Binding(exchange="x", queue="q", pattern="a"),))
    required = Address(exchange="x", key="a", required=True)
    owner = place.somebody(exchange)
    owner.send(required, b"early", token=1)
    place.until(lambda: owner.notices == [Unconfirmed(token=1)])
    reader = place.somebody(exchange | binding, "q")
    owner.send(required, b"again", token=1)
    place.until(lambda: owner.notices == [Unconfirmed(token=1), Confirmed(token=1)])
    place.until(lambda: reader.bodies == [b"again"])


def test_letters_keep_their_order(place):
    owner = place.aggregator(updates_queue(F))
    bodies = [bytes([i]) for i in range(20)]
    owner.send(to_aggregator(F, "update", "ann"), *bodies[:10])
    owner.send(to_aggregator(F, "update", "bob"), *bodies[10:])
    place.until(lambda: owner.bodies == bodies)


def test_letters_wait_for_a_consumer(place):
    place.aggregator().send(to_aggregator(F, "update", "ann"), b"early")
    owner = place.aggregator(updates_queue(F))
    place.until(lambda: owner.bodies == [b"early"])


def test_what_was_not_acknowledged_is_delivered_again_after_the_connection_ended(place):
    first = place.aggregator(updates_queue(F))
    first.send(to_aggregator(F, "update", "ann"), b"one", b"two", b"three")
    place.until(lambda: len(first.deliveries) == 3)
    first.broker.acknowledge([first.deliveries[1].tag])
    first.broker.close()
    second = place.aggregator(updates_queue(F))
    place.until(lambda: second.bodies == [b"one", b"three"])
    assert all(delivery.redelivered for delivery in second.deliveries)


def test_what_was_not_acknowledged_comes_before_what_came_later(place):
    first = place.aggregator(updates_queue(F))
    first.send(to_aggregator(F, "update", "ann"), b"one", b"two")
    place.until(lambda: len(first.deliveries) == 2)
    first.broker.close()
    place.aggregator().send(to_aggregator(F, "update", "ann"), b"three")
    second = place.aggregator(updates_queue(F))
    place.until(lambda: second.bodies == [b"one", b"two", b"three"])


def test_what_was_acknowledged_never_comes_again(place):
    first = place.aggregator(updates_queue(F))
    first.send(to_aggregator(F, "update", "ann"), b"one")
    place.until(lambda: len(first.deliveries) == 1)
    first.broker.acknowledge([first.deliveries[0].tag])
    first.broker.close()
    second = place.aggregator(updates_queue(F))
    second.send(to_aggregator(F, "update", "ann"), b"two")
    place.until(lambda: second.bodies == [b"two"])


def test_acknowledging_twice_or_what_never_came_does_nothing(place):
    owner = place.aggregator(updates_queue(F))
    owner.send(to_aggregator(F, "update", "ann"), b"one")
    place.until(lambda: len(owner.deliveries) == 1)
    owner.broker.acknowledge([owner.deliveries[0].tag] * 2)
    owner.broker.acknowledge([12345])
    owner.send(to_aggregator(F, "update", "ann"), b"two")
    place.until(lambda: owner.bodies == [b"one", b"two"])


def test_two_consumers_share_a_queue(place):
    one, two = place.aggregator(updates_queue(F)), place.aggregator(updates_queue(F))
    one.send(to_aggregator(F, "update", "ann"), *(bytes([i]) for i in range(10)))
    place.until(lambda: sorted(one.bodies + two.bodies) == [bytes([i]) for i in range(10)])
    assert one.bodies
    assert two.bodies


def test_the_other_consumer_gets_what_a_dead_one_held(place):
    one, two = place.aggregator(updates_queue(F)), place.aggregator(updates_queue(F))
    one.send(to_aggregator(F, "update", "ann"), b"one", b"two")
    place.until(lambda: len(one.bodies) == len(two.bodies) == 1)
    one.broker.close()
    place.until(lambda: sorted(two.bodies) == [b"one", b"two"])


def test_a_closed_connection_is_told_nothing(place):
    owner = place.participant("ann")
    owner.broker.close()
    place.aggregator().send(to_all(F), b"round")
    again = place.participant("ann")
    place.until(lambda: again.bodies == [b"round"])
    assert owner.notices == []


def test_a_queue_that_is_full_drops_its_oldest(place):
    topology = Topology(exchanges=("x",), queues=(Queue(name="q", max_length=2),), bindings=())
    sender = place.somebody(topology)
    sender.send(address("", "q"), b"one", b"two", b"three")
    place.until(lambda: sender.notices == [Confirmed(token=0)])
    owner = place.somebody(topology, "q")
    place.until(lambda: owner.bodies == [b"two", b"three"])


def test_a_queue_that_is_full_and_keeps_what_it_has_confirms_nothing_until_somebody_reads(place):
    topology = Topology(exchanges=("x",), queues=(Queue(name="q", max_length=2, overflow="reject-publish"),), bindings=())
    sender = place.somebody(topology)

    def first(kind) -> int:
        """Publish again and again, until the answer is of a kind."""
        for token in range(len(sender.notices), len(sender.notices) + 1000):
            sender.send(address("", "q"), bytes([token]), token=token)
            place.until(lambda token=token: len(sender.notices) == token + 1)
            if sender.notices[-1] == kind(token=token):
                return token
        raise AssertionError(kind)

    refused = first(Unconfirmed)  # a broker of several machines is not exact about the length
    assert refused >= 2
    reader = place.somebody(topology, "q")
    place.until(lambda: reader.bodies == [bytes([i]) for i in range(refused)])
    reader.broker.acknowledge([delivery.tag for delivery in reader.deliveries])
    last = first(Confirmed)
    place.until(lambda: reader.bodies[refused:] == [bytes([last])])


def test_the_broker_remembers_the_last_announcement(place):
    sender = place.aggregator()
    sender.send(to_all(F), b"one", b"two")
    place.until(lambda: sender.notices == [Confirmed(token=0)])
    owner = place.aggregator(last_queue(F))
    place.until(lambda: owner.bodies == [b"two"])


def test_dead_letters_have_a_queue_and_keep_their_reason(place):
    place.aggregator().send(to_dead(F), b"rubbish", headers={"reason": "not msgpack"})
    owner = place.aggregator(dead_queue(F))
    place.until(lambda: [(d.body, d.headers) for d in owner.deliveries] == [(b"rubbish", {"reason": "not msgpack"})])


def seen(owner, queue) -> list[tuple[str, str, bytes, dict[str, str]]]:
    return [(letter.queue, letter.key, letter.body, dict(letter.headers)) for letter in owner.broker.look(queue)]


def test_a_look_shows_what_waits_in_its_order_and_leaves_it_there(place):
    owner = place.aggregator()
    bodies = [str(i).encode() for i in range(300)]  # so many that a broker might forget their order
    for token, body in enumerate(bodies):
        owner.send(to_aggregator(F, "update", "ann"), body, token=token, headers={"number": str(token)})
    place.until(lambda: len(owner.notices) == 300)
    expected = [(updates_queue(F), "update.ann", body, {"number": str(i)}) for i, body in enumerate(bodies)]
    assert seen(owner, updates_queue(F)) == expected
    assert seen(owner, updates_queue(F)) == expected
    reader = place.aggregator(updates_queue(F))
    place.until(lambda: reader.bodies == bodies)
    assert all(delivery.redelivered for delivery in reader.deliveries)


def test_what_was_looked_at_comes_before_what_came_later(place):
    owner = place.aggregator()
    owner.send(to_dead(F), b"one", b"two", token=1)
    place.until(lambda: owner.notices == [Confirmed(token=1)])
    assert [letter.body for letter in owner.broker.look(dead_queue(F))] == [b"one", b"two"]
    owner.send(to_dead(F), b"three", token=2)
    place.until(lambda: owner.notices == [Confirmed(token=1), Confirmed(token=2)])
    assert [letter.body for letter in owner.broker.look(dead_queue(F))] == [b"one", b"two", b"three"]


def test_a_queue_can_be_looked_into_before_the_start(place):
    sender, early = place.aggregator(), place.connect()
    sender.send(to_all(F), b"round", token=1)
    place.until(lambda: sender.notices == [Confirmed(token=1)])
    (letter,) = early.look(last_queue(F))
    assert (letter.body, letter.key) == (b"round", to_all(F).key)
    early.close()


def test_an_empty_queue_shows_nothing(place):
    assert place.aggregator().broker.look(last_queue(F)) == ()


def test_what_a_consumer_holds_is_not_seen(place):
    owner = place.aggregator(updates_queue(F))
    owner.send(to_aggregator(F, "update", "ann"), b"one")
    place.until(lambda: owner.bodies == [b"one"])
    assert owner.broker.look(updates_queue(F)) == ()


def test_acknowledging_what_was_looked_at_does_nothing(place):
    owner = place.aggregator(updates_queue(F))
    owner.send(to_dead(F), b"dead", token=1)
    place.until(lambda: owner.notices == [Confirmed(token=1)])
    for _ in range(2):
        (letter,) = owner.broker.look(dead_queue(F))
        owner.broker.acknowledge([letter.tag])
    assert letter.body == b"dead"


def test_a_queue_that_was_never_declared_cannot_be_looked_into(place):
    broker = place.connect()
    with pytest.raises(QueueMissing, match="no queue"):
        broker.look("nowhere")
    broker.close()


def test_declaring_twice_changes_nothing(place):
    ann, again = place.participant("ann"), place.participant("ann")
    place.aggregator().send(to_all(F), b"round")
    place.until(lambda: ann.bodies + again.bodies == [b"round"])


def test_a_letter_comes_once_to_a_queue_that_is_bound_twice(place):
    bindings = (Binding(exchange="x", queue="q", pattern="a.*"), Binding(exchange="x", queue="q", pattern="*.b"))
    topology = Topology(exchanges=("x",), queues=(Queue(name="q"),), bindings=bindings)
    owner = place.somebody(topology, "q")
    owner.send(address("x", "a.b"), b"both")
    owner.send(address("x", "a.b.c"), b"none")
    owner.send(address("x", "a.c"), b"first")
    place.until(lambda: owner.bodies == [b"both", b"first"])


def test_two_federations_do_not_meet(place):
    mine, other = place.aggregator(updates_queue(F)), place.somebody(shared("g"), updates_queue("g"))
    other.send(to_aggregator("g", "update", "ann"), b"theirs")
    place.until(lambda: other.bodies == [b"theirs"])
    mine.send(to_aggregator(F, "update", "ann"), b"ours")
    place.until(lambda: mine.bodies == [b"ours"])
