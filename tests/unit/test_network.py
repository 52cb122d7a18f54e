"""The network of a simulation, between a participant and a broker."""

from math import inf

import pytest

from fedkseed.federation import Network
from fedkseed.transport.broker import Confirmed, Delivery, Envelope, Unconfirmed
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import mailbox_queue, personal, shared, to_aggregator, to_all, updates_queue
from fedkseed_simulator.circumstances import generator
from fedkseed_simulator.clock import VirtualClock
from fedkseed_simulator.network import RECONNECT_SECONDS, Link

F = "f"


class Scene:
    """Ann behind a network, the aggregator beside the broker, and what both were told at what time."""

    def __init__(self, **network):
        self.clock, broker = VirtualClock(), MemoryBroker()
        self.broker = broker
        self.anns, self.updates, self.metered = [], [], []
        self.link = Link(
            broker.connect(),
            clock=self.clock,
            network=Network(**network),
            dice=generator(0, "network", "ann"),
            meter=lambda direction, body: self.metered.append((direction, body)),
        )
        self.aggregator = broker.connect()
        self.aggregator.start(shared(F), [updates_queue(F)], lambda n: self.updates.append((self.clock.now, n)))
        topology = shared(F) | personal(F, "ann")
        self.link.start(topology, [mailbox_queue(F, "ann")], lambda n: self.anns.append((self.clock.now, n)))

    def send(self, count=1):
        for i in range(count):
            self.link.publish(i, [Envelope(to=to_aggregator(F, "update", "ann"), body=b"%d" % i)])

    def announce(self, count=1):
        for i in range(count):
            self.aggregator.publish(i, [Envelope(to=to_all(F), body=b"%d" % i)])

    def wait(self):
        self.clock.run(until_seconds=inf, while_=lambda: True)
        return self

    def left_for_ann(self):
        """What another connection of hers would get."""
        return list(self.broker.waiting(mailbox_queue(F, "ann")))

    def bodies(self, told):
        return [notice.body for _, notice in told if isinstance(notice, Delivery)]


def test_a_letter_and_its_confirmation_take_their_time():
    scene = Scene(latency_seconds=2.0)
    scene.send()
    scene.wait()
    assert [at for at, notice in scene.updates if isinstance(notice, Delivery)] == [2.0]
    assert scene.anns == [(4.0, Confirmed(token=0))]


def test_an_announcement_takes_its_time():
    scene = Scene(latency_seconds=2.0)
    scene.announce()
    scene.wait()
    assert [(at, notice.body) for at, notice in scene.anns] == [(2.0, b"0")]


def test_jitter_reorders_letters_in_both_directions():
    scene = Scene(jitter_seconds=10.0)
    scene.send(20)
    scene.announce(20)
    scene.wait()
    in_order = [b"%d" % i for i in range(20)]
    for told in (scene.updates, scene.anns):
        assert scene.bodies(told) != in_order
        assert sorted(scene.bodies(told)) == sorted(in_order)


def test_a_publication_that_is_lost_is_reported_after_the_reconnection():
    scene = Scene(lost=1.0)
    scene.send()
    scene.wait()
    assert scene.bodies(scene.updates) == []
    assert scene.anns == [(RECONNECT_SECONDS, Unconfirmed(token=0))]


def test_a_delivery_that_is_lost_never_comes_again():
    scene = Scene(lost=1.0)
    scene.announce()
    scene.wait()
    scene.link.close()
    assert scene.anns == []
    assert scene.left_for_ann() == []


def test_duplicates_arrive_twice():
    scene = Scene(duplicated=1.0)
    scene.send()
    scene.announce()
    scene.wait()
    assert scene.bodies(scene.updates) == [b"0", b"0"]
    assert scene.bodies(scene.anns) == [b"0", b"0"]


def test_when_the_link_closes_what_is_on_its_way_up_is_gone_and_what_is_on_its_way_down_waits():
    scene = Scene(latency_seconds=2.0)
    scene.send()
    scene.announce()
    scene.link.close()
    scene.wait()
    assert scene.anns == []
    assert scene.bodies(scene.updates) == []
    assert scene.left_for_ann() == [b"0"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_bytes_are_counted_as_they_leave_and_as_they_arrive(direction):
    scene = Scene()
    scene.send() if direction == "up" else scene.announce()
    scene.wait()
    assert scene.metered == [(direction, b"0")]
