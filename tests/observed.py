"""A federation of the real machines in this process, under a virtual clock, every service of it watched as in production."""

from collections.abc import Callable
from dataclasses import replace

from fedkseed.ledger.fold import found
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.watched import WatchedLedger
from fedkseed.metrics.registry import Registry
from fedkseed.metrics.services import AggregatorMetrics, ClientMetrics, EvaluatorMetrics
from fedkseed.reactor import Reactor
from fedkseed.traffic import Traffic
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import personal, shared
from fedkseed.transport.watched import WatchedBroker
from fedkseed_aggregator import machine as aggregating
from fedkseed_aggregator import observer as aggregator_observer
from fedkseed_aggregator import shell as aggregator_shell
from fedkseed_aggregator.events import Started as AggregatorStarted
from fedkseed_client import machine as client_machine
from fedkseed_client import observer as client_observer
from fedkseed_client import shell as client_shell
from fedkseed_client.events import Started as ClientStarted
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_evaluator import machine as evaluating
from fedkseed_evaluator import observer as evaluator_observer
from fedkseed_evaluator import shell as evaluator_shell
from fedkseed_simulator.clock import VirtualClock
from fedkseed_simulator.process import Process
from tests.federations import NAME, genesis, score, train

EXAMPLES = 5


class Trainer:
    """Takes so many virtual seconds for an assignment."""

    def __init__(self, process: Process, measure: Callable[[Assignment], Trained], seconds: float) -> None:
        self._process, self._measure, self._seconds = process, measure, seconds

    def begin(self, assignment: Assignment) -> None:
        self._timer = self._process.later(
            self._seconds, lambda: replace(self._measure(assignment), seconds=self._seconds, skipped=1)
        )

    def abandon(self) -> None:
        self._timer.cancelled = True


class Watched:
    """An aggregator, clients and evaluators, and the registries of their metrics by name."""

    def __init__(self, policy) -> None:
        self.clock, self.broker = VirtualClock(), MemoryBroker()
        self.ledger = MemoryLedger(found(genesis(), policy, 0.0), lambda: self.clock.now)
        self.registries: dict[str, Registry] = {}
        self.processes: dict[str, Process] = {}
        self.aggregator()

    def value(self, who: str, name: str, **labels: str) -> float | None:
        return self.registries[who].value(name, **labels)

    def run(self, *, until: Callable[[], bool]) -> None:
        """Let time pass until something is so."""
        self.clock.run(until_seconds=1e6, while_=lambda: not until())
        assert until()

    def reach(self, version: int) -> None:
        self.run(until=lambda: self.ledger.head().version >= version)

    def aggregator(self) -> None:
        metrics = AggregatorMetrics()
        traffic = self._traffic(metrics)
        connection = WatchedBroker(self.broker.connect(), traffic.passed)
        process = self._process("aggregator", metrics, connection, aggregator_shell.events)
        observer = aggregator_observer.Observer(metrics, traffic, lambda: None, lambda: self.clock.now, self.ledger.commits)
        shell = aggregator_shell.Shell(
            store=WatchedLedger(self.ledger, observer.ledger),
            broker=connection,
            wake=lambda at_seconds, event: process.later(at_seconds - self.clock.now, lambda: event),
        )
        reactor = Reactor(aggregating.State(federation=NAME), aggregating.step, shell.carry_out, observer)
        process.start(reactor.feed, AggregatorStarted(), shared(NAME), aggregator_shell.queues(NAME))

    def client(self, name: str, seconds: float) -> None:
        """A client that trains for so long."""
        metrics = ClientMetrics()
        traffic = self._traffic(metrics)
        connection = WatchedBroker(self.broker.connect(), traffic.passed)
        process = self._process(name, metrics, connection, client_shell.events)
        state = client_machine.new(NAME, name, EXAMPLES)
        observer = client_observer.Observer(metrics, traffic, state, lambda: self.clock.now)
        shell = client_shell.Shell(
            broker=connection,
            trainer=Trainer(process, lambda assignment: train(name, assignment), seconds),
            save=lambda _: None,
            note=lambda _: None,
            wake=lambda after, event: process.later(after, lambda: event),
            end=process.stop,
        )
        reactor = Reactor(state, client_machine.step, shell.carry_out, lambda seen: observer.see(seen, reactor.state))
        topology = personal(NAME, name)
        process.start(reactor.feed, ClientStarted(), topology, client_shell.queues(NAME, name))

    def evaluator(self, name: str) -> None:
        metrics = EvaluatorMetrics()
        traffic = self._traffic(metrics)
        connection = WatchedBroker(self.broker.connect(), traffic.passed)
        process = self._process(name, metrics, connection, evaluator_shell.events)
        state = evaluating.new(NAME, name, 1)
        observer = evaluator_observer.Observer(metrics, traffic, state)
        shell = evaluator_shell.Shell(
            broker=connection,
            evaluate=lambda effect: process.later(2.0, lambda: replace(score(effect), seconds=2.0)),
            wake=lambda after, event: process.later(after, lambda: event),
            end=process.stop,
        )
        reactor = Reactor(state, evaluating.step, shell.carry_out, lambda seen: observer.see(seen, reactor.state))
        topology = personal(NAME, name)
        process.start(reactor.feed, evaluating.Started(), topology, evaluator_shell.queues(NAME, name))

    def _traffic(self, metrics) -> Traffic:
        return Traffic(metrics.transport, "guest", waiting=lambda: None, clock=lambda: self.clock.now)

    def _process(self, name, metrics, connection, events) -> Process:
        self.registries[name] = metrics.registry
        self.processes[name] = Process(self.clock, connection, events)
        return self.processes[name]
