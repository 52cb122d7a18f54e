"""Where the services of a simulation run: a host starts a process, stops it, and starts it again from what it kept.

A client keeps what its machine saved, the aggregator has the ledger, the evaluator keeps nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from fedkseed.federation import Federation
from fedkseed.ledger.store import LedgerStore
from fedkseed.reactor import Reactor
from fedkseed.replica import Replica
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import personal, shared
from fedkseed.zo.estimator import evaluations
from fedkseed_aggregator import machine as aggregator
from fedkseed_aggregator import shell as aggregator_shell
from fedkseed_aggregator.events import Event as AggregatorEvent
from fedkseed_aggregator.events import Started as AggregatorStarted
from fedkseed_client import machine as client
from fedkseed_client import shell as client_shell
from fedkseed_client.events import Declined, Trained
from fedkseed_client.events import Event as ClientEvent
from fedkseed_client.events import Started as ClientStarted
from fedkseed_client.machine import Assignment
from fedkseed_evaluator import machine as evaluator
from fedkseed_evaluator import shell as evaluator_shell
from fedkseed_evaluator.machine import Evaluate, Evaluated
from fedkseed_simulator.circumstances import drops_out, generator, slowness
from fedkseed_simulator.clock import VirtualClock
from fedkseed_simulator.hostile import attacked
from fedkseed_simulator.network import Link
from fedkseed_simulator.process import Process
from fedkseed_simulator.record import Record

Train = Callable[[str, Assignment], Trained]  # of the client with a name; `seconds` is replaced by virtual time
Score = Callable[[Evaluate], Evaluated]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all hosts of a simulation share."""

    federation: Federation
    clock: VirtualClock
    broker: MemoryBroker
    record: Record

    def link(self, participant: str, incarnation: int) -> Link:
        """A connection over the network, with dice of its own."""
        settings = self.federation.simulation
        return Link(
            self.broker.connect(),
            clock=self.clock,
            network=settings.network,
            dice=generator(settings.seed, "network", participant, incarnation),
            meter=partial(self.record.meter, participant),
        )


class AggregatorHost:
    """Runs the aggregator, beside the broker."""

    def __init__(self, world: World, store: LedgerStore) -> None:
        self._world = world
        self._store = store
        self._process: Process[AggregatorEvent] | None = None
        self.ended = False  # it serves whoever comes late

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Begin from the ledger."""
        clock, name, connection = self._world.clock, self._world.federation.name, self._world.broker.connect()
        process: Process[AggregatorEvent] = Process(clock, connection, aggregator_shell.events)
        shell = aggregator_shell.Shell(
            store=self._store,
            broker=connection,
            wake=lambda at_seconds, event: process.later(at_seconds - clock.now, lambda: event),
        )
        reactor = Reactor(aggregator.State(federation=name), aggregator.step, shell.carry_out, self._world.record.watch)
        process.start(reactor.feed, AggregatorStarted(), shared(name), aggregator_shell.queues(name))
        self._process = process

    def stop(self) -> None:
        """Kill it."""
        if self._process:
            self._process.stop()


class ClientHost:
    """Runs one client; training is carried out when its virtual time is over, so that what is abandoned costs nothing.

    Args:
        world: see World.
        name: of the client.
        examples: how many it holds.
        train: measures an assignment.
    """

    def __init__(self, world: World, name: str, examples: int, train: Train) -> None:
        self._world = world
        self._name = name
        self._train = train
        self._state = client.new(world.federation.name, name, examples)
        self._process: Process[ClientEvent] | None = None
        self._incarnation = 0
        self.ended = False

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.alive

    @property
    def replica(self) -> Replica:
        """The client's copy of the ledger, as it was saved."""
        return self._state.replica

    def start(self) -> None:
        """Begin from what was saved."""
        self._incarnation += 1
        name, link = self._world.federation.name, self._world.link(self._name, self._incarnation)
        process: Process[ClientEvent] = Process(self._world.clock, link, client_shell.events)
        shell = client_shell.Shell(
            broker=link,
            trainer=VirtualTrainer(self._world, self._name, process, self._train),
            save=self._save,
            note=lambda _: None,  # the record sees what the ledger decides
            wake=lambda seconds, event: process.later(seconds, lambda: event),
            end=self._end,
        )
        reactor = Reactor(self._state, client.step, shell.carry_out)
        self._process = process
        topology = personal(name, self._name)
        process.start(reactor.feed, ClientStarted(), topology, client_shell.queues(name, self._name))

    def stop(self) -> None:
        """Kill it."""
        if self._process:
            self._process.stop()

    def _save(self, state: client.State) -> None:
        self._state = state

    def _end(self) -> None:
        self.ended = True
        self.stop()


class VirtualTrainer:
    """A `Trainer` that takes virtual time: that of a step for each two forward passes, times how slow the client is."""

    def __init__(self, world: World, name: str, process: Process[ClientEvent], train: Train) -> None:
        self._settings = world.federation.simulation
        self._name = name
        self._process = process
        self._train = train
        self._slowness = slowness(self._settings, name)

    def begin(self, assignment: Assignment) -> None:
        """See Trainer; a client that drops out declines."""
        round_ = assignment.round
        if drops_out(self._settings, self._name, round_.version, round_.attempt):
            declined = Declined(base=round_.version, attempt=round_.attempt)
            self._timer = self._process.later(0.0, lambda: declined)
            return
        passes = evaluations(round_.steps, round_.directions_per_batch)
        seconds = passes / 2 * self._settings.step_seconds * self._slowness
        self._timer = self._process.later(seconds, lambda: self._measured(assignment, seconds))

    def _measured(self, assignment: Assignment, seconds: float) -> Trained:
        trained = replace(self._train(self._name, assignment), seconds=seconds)
        return attacked(trained, self._settings.hostile, self._name)

    def abandon(self) -> None:
        """See Trainer."""
        self._timer.cancelled = True


class EvaluatorHost:
    """Runs the evaluator, which takes no virtual time to score a version.

    Args:
        world: see World.
        name: of the evaluator.
        score: scores a version.
    """

    def __init__(self, world: World, name: str, score: Score) -> None:
        self._world = world
        self._name = name
        self._score = score
        self._reactor: Reactor[evaluator.State, evaluator.Event, evaluator.Effect] | None = None

    @property
    def replica(self) -> Replica:
        """The evaluator's copy of the ledger."""
        return self._reactor.state.replica if self._reactor else Replica(federation="", participant=self._name)

    def start(self) -> None:
        """Begin from nothing."""
        federation, link = self._world.federation, self._world.link(self._name, 1)
        process: Process[evaluator.Event] = Process(self._world.clock, link, evaluator_shell.events)
        shell = evaluator_shell.Shell(
            broker=link,
            evaluate=lambda effect: process.later(0.0, lambda: self._score(effect)),
            wake=lambda seconds, event: process.later(seconds, lambda: event),
            end=process.stop,
        )
        state = evaluator.new(federation.name, self._name, federation.evaluation.every)
        self._reactor = Reactor(state, evaluator.step, shell.carry_out)
        topology = personal(federation.name, self._name)
        queues = evaluator_shell.queues(federation.name, self._name)
        process.start(self._reactor.feed, evaluator.Started(), topology, queues)
