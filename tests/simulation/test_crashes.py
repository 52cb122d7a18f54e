"""Services that are killed between any two things they do to the world, and started again."""

from collections import defaultdict
from itertools import count

import pytest

from fedkseed.ledger.fold import found
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.operate import finish
from fedkseed.messages import Receipt
from fedkseed.reactor import Reactor
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import personal, shared, updates_queue
from fedkseed_aggregator import machine as aggregator
from fedkseed_aggregator import shell as aggregator_shell
from fedkseed_aggregator.events import Started as AggregatorStarted
from fedkseed_aggregator.events import Ticked
from fedkseed_client import machine as client
from fedkseed_client import shell as client_shell
from fedkseed_client.events import ReceiptArrived
from fedkseed_client.events import Started as ClientStarted
from tests.federations import NAME, federation, genesis, train

ROUNDS = 3
NAMES = ("ann", "bob")
BOTH = len(NAMES)


class Killed(Exception):
    """The process is gone."""


class Fuse:
    """Kills whoever comes to the n-th point of danger; never again after that."""

    def __init__(self, point):
        self.left = point

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            raise Killed


class DangerousBroker:
    """A connection on which every letter and every acknowledgement may be the last."""

    def __init__(self, broker, danger):
        self._broker = broker
        self._danger = danger
        self.start, self.close = broker.start, broker.close

    def publish(self, token, envelopes):
        for i, envelope in enumerate(envelopes):
            self._danger()
            self._broker.publish(token if i == len(envelopes) - 1 else -9, [envelope])

    def acknowledge(self, tags):
        for tag in tags:
            self._danger()
            self._broker.acknowledge([tag])


class DangerousLedger:
    """A ledger that may be the last thing a process sees."""

    def __init__(self, store, danger):
        self._store = store
        self._danger = danger
        self.head, self.commits = store.head, store.commits

    def transact(self, change):
        self._danger()
        return self._store.transact(change)


class Service:
    """A process that is started again when it was killed."""

    def __init__(self, world, danger):
        self.world, self.danger = world, danger
        self.deaths = 0
        self.start()

    def start(self):
        self.inbox, self.done = [], []
        self.broker = DangerousBroker(self.world.broker.connect(), self.danger)
        self.attempt(self.begin)

    def turn(self):
        """Deal with what came; whether there was anything."""
        events = (*self.read(self.inbox), *self.done)
        self.inbox.clear()
        self.done.clear()
        self.attempt(lambda: [self.reactor.feed(event) for event in events])
        return bool(events)

    def attempt(self, action):
        try:
            action()
        except Killed:
            self.deaths += 1
            self.broker.close()
            self.start()


class Aggregator(Service):
    read = staticmethod(aggregator_shell.events)

    def begin(self):
        store = DangerousLedger(self.world.store, self.danger)
        shell = aggregator_shell.Shell(store=store, broker=self.broker, wake=lambda *_: None)
        self.reactor = Reactor(aggregator.State(federation=NAME), aggregator.step, shell.carry_out)
        self.broker.start(shared(NAME), aggregator_shell.queues(NAME), self.inbox.append)
        self.reactor.feed(AggregatorStarted())


class Client(Service):
    read = staticmethod(client_shell.events)

    def __init__(self, world, danger, name):
        self.name, self.saved, self.ended = name, client.new(NAME, name, 3), False
        super().__init__(world, danger)

    def begin(self):
        shell = client_shell.Shell(
            broker=self.broker,
            trainer=Trainer(self),
            save=self.save,
            note=lambda _: None,
            wake=lambda *_: None,
            end=self.end,
        )
        self.reactor = Reactor(self.saved, client.step, shell.carry_out, self.observe)
        topology = shared(NAME) | personal(NAME, self.name)
        self.broker.start(topology, client_shell.queues(NAME, self.name), self.inbox.append)
        self.reactor.feed(ClientStarted())

    def save(self, state):
        self.danger()
        self.saved = state

    def end(self):
        self.ended = True

    def observe(self, happening):
        if isinstance(happening, ReceiptArrived):
            self.world.receipts[self.name, happening.receipt.base].add(happening.receipt)


class Trainer:
    """Trains at once."""

    def __init__(self, owner):
        self._owner = owner

    def begin(self, assignment):
        self._owner.world.trained[self._owner.name, assignment.base] += 1
        self._owner.done.append(train(self._owner.name, assignment))

    def abandon(self):
        self._owner.done.clear()


class World:
    """An aggregator and two clients, one of whom dies at a point of danger; runs until nothing is left to do."""

    def __init__(self, victim, point, cohort=BOTH):
        self.fuse, safe = Fuse(point), Fuse(0)
        self.broker = MemoryBroker()
        policy = federation(total=ROUNDS, cohort=cohort).policy
        self.store = MemoryLedger(found(genesis(), policy, 0.0), lambda: 0.0)
        self.trained: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.receipts: defaultdict[tuple[str, int], set[Receipt]] = defaultdict(set)
        self.aggregator = Aggregator(self, self.fuse if victim == "aggregator" else safe)
        self.clients = [Client(self, self.fuse if victim == name else safe, name) for name in NAMES]
        self.settle()

    @property
    def deaths(self):
        return sum(service.deaths for service in (self.aggregator, *self.clients))

    def settle(self):
        """Let everything happen that can."""
        while any(service.turn() for service in (self.aggregator, *self.clients)):
            pass

    def end_training(self, point):
        """What an operator does; the aggregator dies at a point of danger after it."""
        self.store.transact(finish)
        self.fuse.left = point
        self.aggregator.attempt(lambda: self.aggregator.reactor.feed(Ticked()))
        self.settle()


UPDATES = [(name, base) for name in NAMES for base in range(ROUNDS)]
CALM = World("nobody", 0)


def every_death(victim):
    """A world for every point at which somebody can die."""
    for point in count(1):
        world = World(victim, point)
        if not world.deaths:
            return
        yield world


def test_without_a_death_everything_is_trained_once():
    assert CALM.trained == dict.fromkeys(UPDATES, 1)
    assert CALM.store.head().state == "closed"


@pytest.mark.parametrize("victim", ["aggregator", "ann"])
def test_whenever_a_service_dies_nothing_is_lost_and_nothing_counts_twice(victim):
    worlds = list(every_death(victim))
    assert len(worlds) > 20
    for world in worlds:
        assert list(world.store.commits()) == list(CALM.store.commits())
        assert world.store.head().announced == CALM.store.head().announced
        assert world.broker.waiting(updates_queue(NAME)) == ()
        assert all(client.ended for client in world.clients)
        assert all(client.saved.replica.state == CALM.clients[0].saved.replica.state for client in world.clients)


@pytest.mark.parametrize("victim", ["aggregator", "ann"])
def test_whenever_a_service_dies_every_update_has_one_receipt(victim):
    for world in every_death(victim):
        assert world.receipts == CALM.receipts
        assert [len(world.receipts[update]) for update in UPDATES] == [1] * len(UPDATES)


def test_whenever_the_aggregator_dies_the_members_of_a_voided_round_are_told():
    for point in count(1):
        world = World("aggregator", 0, cohort=BOTH + 1)  # everybody is in, and the round waits for one more
        world.end_training(point)
        for update in ((name, 0) for name in NAMES):
            assert sorted(receipt.outcome for receipt in world.receipts[update]) == ["folded", "voided"]
        assert all(client.ended for client in world.clients)
        if not world.deaths:
            break
    assert point > BOTH + 1


def test_whenever_a_client_dies_it_trains_again_only_what_it_had_not_saved():
    for world in every_death("ann"):
        assert sum(world.trained.values()) <= len(UPDATES) + 1
        assert world.trained.keys() == set(UPDATES)


def test_whenever_the_aggregator_dies_nobody_trains_anything_again():
    for world in every_death("aggregator"):
        assert world.trained == CALM.trained
