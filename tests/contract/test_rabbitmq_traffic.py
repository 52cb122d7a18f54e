"""What a connection to RabbitMQ counts of itself: bytes on its sockets, and how long queues are."""

from fedkseed.transport.condition import Waiting
from fedkseed.transport.topology import dead_queue, to_dead, updates_queue
from tests.parties import UPDATES, F, at
from tests.wires import Loss


def test_bytes_of_a_connection_are_counted_over_all_its_lives(far, cable):
    """A letter that is lost with its connection was sent all the same; nothing is ever taken back."""
    owner = far.aggregator(updates_queue(F))
    before = owner.broker.traffic()
    assert min(before.values()) > 0
    cable.lose(Loss(request=b"x" * 1000, reply=None, meanwhile=lambda: None))
    owner.send(UPDATES, b"x" * 5000)
    far.until(lambda: owner.notices)
    lost = owner.broker.traffic()
    assert lost["publishing", "sent"] > before["publishing", "sent"] + 5000
    owner.send(UPDATES, b"y" * 7000)
    far.until(lambda: owner.bodies)
    after = owner.broker.traffic()
    assert after["publishing", "sent"] > lost["publishing", "sent"] + 7000
    assert after["consuming", "received"] > before["consuming", "received"] + 7000
    assert all(after[key] >= before[key] for key in before)


def test_the_length_of_a_queue_is_told_without_taking_from_it(rabbit, vhost, place):
    sender = place.aggregator()
    sender.send(to_dead(F), b"one", b"two")
    place.until(lambda: sender.notices)
    onlooker = at(rabbit.url(vhost), backlogs=(updates_queue(F), dead_queue(F)))
    onlooker.aggregator(updates_queue(F))
    onlooker.until(lambda: onlooker.saw(Waiting, times=2))
    seen = {told.queue: told.letters for told in onlooker.conditions if isinstance(told, Waiting)}
    assert seen == {updates_queue(F): 0, dead_queue(F): 2}
    onlooker.close()
