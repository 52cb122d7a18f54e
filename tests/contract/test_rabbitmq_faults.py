"""RabbitMQ goes away and comes back: connections break, users and queues disappear, the node is killed, freezes, runs short."""

import threading

import pytest

from fedkseed.errors import BrokerError
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.condition import Awaiting, Blocked, Disconnected, Returned, Unblocked
from fedkseed.transport.topology import (
    Address,
    evaluations_queue,
    mailbox_queue,
    personal,
    shared,
    to_aggregator,
    to_all,
    to_client,
    updates_queue,
)
from tests.parties import UPDATES, F, Owner, at
from tests.servers import freeze, thaw
from tests.wires import Loss

ACKNOWLEDGED = b"\x00\x3c\x00\x50"  # class and method of basic.ack, which is also how a broker confirms
SCORES = to_aggregator(F, "evaluation", "ann")


def test_a_start_waits_for_the_broker_and_says_so(far, cable):
    cable.torn = True  # connections are accepted and cut, which is no refusal
    owners: list[Owner] = []
    starting = threading.Thread(target=lambda: owners.append(far.aggregator(updates_queue(F))))
    starting.start()
    far.until(lambda: far.saw(Disconnected, times=3))
    assert not owners
    cable.torn = False
    starting.join(far.patience_seconds)
    owners[0].send(UPDATES, b"one")
    far.until(lambda: owners[0].bodies == [b"one"])


def test_a_participant_waits_for_the_exchanges_that_an_aggregator_declares_and_says_so(place):
    owners: list[Owner] = []
    starting = threading.Thread(target=lambda: owners.append(place.somebody(personal(F, "ann"), mailbox_queue(F, "ann"))))
    starting.start()
    place.until(lambda: place.saw(Awaiting, times=3))
    assert not owners
    assert not place.saw(Disconnected)
    assert f"no exchange 'fedkseed.{F}.rounds'" in next(each for each in place.conditions if isinstance(each, Awaiting)).what
    aggregator = place.aggregator()
    starting.join(place.patience_seconds)
    aggregator.send(to_all(F), b"round")
    place.until(lambda: owners[0].bodies == [b"round"])


def test_closing_ends_a_start_that_waits(far, cable):
    cable.torn = True
    starting = threading.Thread(target=far.aggregator)
    starting.start()
    far.until(lambda: far.saw(Disconnected))
    far.close()
    starting.join(far.patience_seconds)
    assert not starting.is_alive()


def test_closing_ends_a_look_that_waits(far, cable):
    cable.torn = True
    broker, errors = far.connect(), []

    def look() -> None:
        try:
            broker.look(updates_queue(F))
        except BrokerError as error:
            errors.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    far.until(lambda: far.saw(Disconnected))
    broker.close()
    looking.join(far.patience_seconds)
    assert "closed before" in str(errors[0])


def test_a_look_waits_for_the_broker(far, cable, place):
    sender = place.aggregator()
    sender.send(UPDATES, b"one", b"two", token=1)
    place.until(lambda: sender.notices == [Confirmed(token=1)])
    cable.torn = True
    broker, found = far.connect(), []
    looking = threading.Thread(target=lambda: found.extend(broker.look(updates_queue(F))))
    looking.start()
    far.until(lambda: far.saw(Disconnected, times=2))
    cable.torn = False
    looking.join(far.patience_seconds)
    assert [letter.body for letter in found] == [b"one", b"two"]
    broker.close()


@pytest.mark.parametrize(("reply", "copies"), [(None, 1), (ACKNOWLEDGED, 2)], ids=["letter", "confirm"])
def test_what_is_lost_with_the_connection_is_unconfirmed_and_can_be_published_again(far, place, cable, reply, copies):
    owner = far.aggregator()
    cable.lose(Loss(request=b"precious", reply=reply, meanwhile=lambda: None))
    owner.send(UPDATES, b"precious", token=3)
    far.until(lambda: owner.notices == [Unconfirmed(token=3)])
    owner.send(UPDATES, b"precious", token=3)
    far.until(lambda: owner.notices == [Unconfirmed(token=3), Confirmed(token=3)])
    reader = place.aggregator(updates_queue(F))
    place.until(lambda: reader.bodies == [b"precious"] * copies)


def test_what_is_published_while_the_line_is_down_is_unconfirmed_once_it_is_up(far, cable):
    owner = far.aggregator()
    cable.torn = True
    owner.send(UPDATES, b"one", token=1)
    far.until(lambda: far.saw(Disconnected))
    owner.send(UPDATES, b"two", token=2)
    far.until(lambda: far.saw(Disconnected, times=3))
    assert owner.notices == []
    cable.torn = False
    far.until(lambda: owner.notices == [Unconfirmed(token=1), Unconfirmed(token=2)])


def test_deliveries_come_again_with_new_tags_when_the_line_comes_back(far, cable):
    owner = far.aggregator(updates_queue(F))
    owner.send(UPDATES, b"one", b"two")
    far.until(lambda: len(owner.deliveries) == 2)
    cable.lose(Loss(request=ACKNOWLEDGED, reply=None, meanwhile=lambda: None))
    owner.broker.acknowledge([delivery.tag for delivery in owner.deliveries])
    far.until(lambda: owner.bodies == [b"one", b"two"] * 2)
    assert [delivery.redelivered for delivery in owner.deliveries] == [False, False, True, True]
    assert len({delivery.tag for delivery in owner.deliveries}) == 4
    owner.broker.acknowledge([owner.deliveries[0].tag, owner.deliveries[3].tag])  # the first one means nothing any more
    owner.broker.close()
    second = far.aggregator(updates_queue(F))
    far.until(lambda: second.bodies == [b"one"])


def test_a_broker_that_does_not_move_any_more_is_noticed_by_its_silence(rabbit, vhost):
    place = at(rabbit.url(vhost) + "?heartbeat=1")
    owner = place.aggregator(updates_queue(F))
    freeze(rabbit)
    owner.send(UPDATES, b"one", token=1)
    place.until(lambda: place.saw(Disconnected, times=2))
    thaw(rabbit)
    place.until(lambda: owner.answers == [Unconfirmed(token=1)])
    place.close()


def test_a_user_who_is_removed_is_tried_again_until_he_is_back(rabbit, vhost):
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann")
    place = at(rabbit.url(vhost, user="ann", password="ann"))
    owner = place.aggregator(updates_queue(F))
    rabbit.remove_user("ann")
    place.until(lambda: place.saw(Disconnected, times=4))  # what would be an error at the start
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann")
    place.lines_up(4)
    owner.send(UPDATES, b"one", token=1)
    place.until(lambda: owner.bodies == [b"one"])
    place.close()
    rabbit.remove_user("ann")


def test_a_queue_that_is_removed_is_made_again_with_its_consumer(rabbit, vhost, place):
    owner = place.aggregator(evaluations_queue(F))
    rabbit.remove_queue(vhost, evaluations_queue(F))
    place.lines_up(3)
    owner.send(SCORES, b"one", token=1)
    place.until(lambda: owner.bodies == [b"one"])


def test_a_letter_that_must_arrive_is_returned_and_unconfirmed_and_its_queue_is_made_again(rabbit, vhost, place):
    owner = place.aggregator()
    rabbit.remove_queue(vhost, evaluations_queue(F))
    owner.send(SCORES, b"one", token=1)
    place.until(lambda: owner.notices == [Unconfirmed(token=1)])
    assert Returned(exchange=SCORES.exchange, key=SCORES.key, required=True) in place.conditions
    owner.send(SCORES, b"one", token=1)
    place.until(lambda: owner.notices == [Unconfirmed(token=1), Confirmed(token=1)])


def test_a_node_that_is_killed_has_kept_what_it_confirmed(rabbit, place):
    owner = place.aggregator(updates_queue(F))
    for token in range(50):
        owner.send(UPDATES, bytes([token]), token=token)
    place.until(lambda: len(owner.answers) == len(owner.deliveries) == 50)
    owner.broker.acknowledge([delivery.tag for delivery in owner.deliveries[:20]])
    owner.send(Address(exchange="", key="nowhere"), b"", token=50)
    place.until(lambda: owner.answers[50:] == [Confirmed(token=50)])
    rabbit.kill()
    place.until(lambda: place.saw(Disconnected, times=4))
    owner.send(UPDATES, b"meanwhile", token=51)
    rabbit.start()
    place.until(lambda: owner.answers[51:] == [Unconfirmed(token=51)])
    place.until(lambda: owner.bodies[-30:] == [bytes([token]) for token in range(20, 50)])
    assert len({delivery.tag for delivery in owner.deliveries}) == len(owner.deliveries)


def test_while_the_broker_is_short_of_memory_no_more_than_the_prefetch_is_handed_out(rabbit, vhost):
    place = at(rabbit.url(vhost), prefetch=5)
    sender = place.aggregator()
    sender.send(UPDATES, *(bytes([i]) for i in range(20)), token=0)
    place.until(lambda: sender.notices == [Confirmed(token=0)])
    rabbit.control("set_vm_memory_high_watermark", "absolute", "1")
    try:
        worker = place.somebody(shared(F))
        reader = place.somebody(shared(F), updates_queue(F))
        place.until(lambda: len(reader.deliveries) == 5)
        for delivery in reader.deliveries:
            worker.send(to_client(F, "nobody"), b"receipt", token=delivery.tag)
        place.until(lambda: place.saw(Blocked))
        assert (worker.notices, len(reader.deliveries)) == ([], 5)
    finally:
        rabbit.control("set_vm_memory_high_watermark", "0.4")
    place.until(lambda: len(worker.notices) == 5)
    assert place.saw(Unblocked)
    reader.broker.acknowledge([notice.token for notice in worker.notices])
    place.until(lambda: len(reader.deliveries) == 10)
    place.close()


def test_a_closed_connection_leaves_no_thread_behind(place):
    owner = place.aggregator(updates_queue(F))
    owner.send(UPDATES, b"one")
    place.until(lambda: owner.bodies == [b"one"])
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("rabbitmq")}
    owner.broker.close()
    assert not any(thread.is_alive() for thread in threads)
    owner.broker.close()  # once more does nothing, and so does all the rest
    owner.send(UPDATES, b"two")
    owner.broker.acknowledge([1])


def test_what_is_asked_for_while_a_connection_closes_is_not_done(place):
    owner = place.aggregator(updates_queue(F))
    owner.send(UPDATES, b"one")
    place.until(lambda: owner.bodies == [b"one"])
    line = owner.broker._consumer.line  # noqa: SLF001 - nobody can time two calls so closely
    line.call(line._end)  # noqa: SLF001
    owner.broker.acknowledge([owner.deliveries[0].tag])
    owner.broker.close()
    another = place.aggregator(updates_queue(F))
    place.until(lambda: another.bodies == [b"one"])
