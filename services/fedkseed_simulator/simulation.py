"""A federation in one process: the services' own machines and shells over a memory broker, under a virtual clock.

Everything that chance decides comes from `simulation.seed`, so that two runs give identical ledgers. Training and scoring
are handed in. The run is over when nothing is left to happen: all participants have got the last version and everything
is delivered. It is over earlier at `simulation.until_seconds`, when the last client has left an open federation, and when
a round was announced so often in vain that it will never close.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from fedkseed.errors import GenesisMismatch, SettingError
from fedkseed.federation import Federation, Incident
from fedkseed.ledger.fold import found
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.store import Change
from fedkseed.transport.memory import MemoryBroker
from fedkseed_simulator.circumstances import slowness
from fedkseed_simulator.clock import VirtualClock
from fedkseed_simulator.facts import Fact, IncidentHappened, Outcome
from fedkseed_simulator.hosts import AggregatorHost, ClientHost, EvaluatorHost, Score, Train, World
from fedkseed_simulator.record import Record

AGGREGATOR = "aggregator"
EVALUATOR = "evaluator"
MAX_ATTEMPTS = 1000  # at one version


class Simulation:
    """One run of a federation.

    Args:
        federation: its settings; model, objective and data are the business of `train` and `score`.
        genesis_bytes: the genesis, as serialised by the founder.
        clients: by name, how many examples each holds.
        train: measures an assignment of a client; called when its virtual time is over, never for abandoned training.
        score: scores a version.
        observe: is told every fact when it happens.

    Raises:
        SettingError: the run would have no end, or an incident or a client has a name that it cannot have.
        GenesisMismatch: the genesis is of another federation.
    """

    def __init__(
        self,
        *,
        federation: Federation,
        genesis_bytes: bytes,
        clients: Mapping[str, int],
        train: Train,
        score: Score,
        observe: Callable[[Fact], None] = lambda _: None,
    ) -> None:
        _check(federation, clients)
        self._settings = federation.simulation
        self._clock = VirtualClock()
        self._record = Record(self._clock, observe)
        world = World(federation=federation, clock=self._clock, broker=MemoryBroker(), record=self._record)
        head = found(genesis_bytes, federation.policy, self._clock.now)
        if head.genesis.federation != federation.name:
            raise GenesisMismatch(f"genesis of federation {head.genesis.federation}, not {federation.name}")
        self._store = MemoryLedger(head, lambda: self._clock.now)
        self._aggregator = AggregatorHost(world, self._store)
        self._evaluator = EvaluatorHost(world, EVALUATOR, score)
        self._clients = {name: ClientHost(world, name, clients[name], train) for name in sorted(clients)}
        self._to_join = sum(incident.kind == "join" for incident in self._settings.incidents)

    def run(self) -> Outcome:
        """Let everything happen; called once.

        Raises:
            FedkseedError: a participant could not go on.
        """
        self._aggregator.start()
        self._evaluator.start()
        for name in sorted(self._clients.keys() - _late(self._settings.incidents)):
            self._clients[name].start()
        for incident in self._settings.incidents:
            self._clock.at(incident.at_seconds, partial(self._happen, incident))
        until = self._settings.until_seconds
        self._clock.run(until_seconds=float("inf") if until is None else until, while_=self._going)
        return self._outcome()

    def operate(self, change: Change) -> None:
        """Change the ledger as an operator might while training goes on, such as its policy; `observe` may call this."""
        self._store.transact(change)

    def _happen(self, incident: Incident) -> None:
        """Let a participant join, leave or restart; what cannot be changes nothing."""
        self._record.state(IncidentHappened(at_seconds=self._clock.now, incident=incident))
        self._to_join -= incident.kind == "join"
        host = self._aggregator if incident.who == AGGREGATOR else self._clients[incident.who]
        if incident.kind != "join" and host.running:
            host.stop()
            if incident.kind == "restart":
                host.start()
        elif incident.kind == "join" and not host.running and not host.ended:
            host.start()

    def _going(self) -> bool:
        """Whether anything can still come of it."""
        head = self._store.head()
        if head.state == "closed":
            return True
        somebody = self._to_join > 0 or any(client.running for client in self._clients.values())
        return somebody and head.round.attempt < MAX_ATTEMPTS

    def _outcome(self) -> Outcome:
        record = self._record
        replicas = [*(client.replica for client in self._clients.values()), self._evaluator.replica]
        return Outcome(
            head=self._store.head(),
            log=tuple(self._store.commits()),
            receipts=tuple(record.receipts.values()),
            repeated=record.repeated,
            rounds=tuple(record.rounds),
            scores=tuple(record.scores.values()),
            flows=record.flows,
            slowness={name: slowness(self._settings, name) for name in self._clients},
            states={replica.participant: replica.state for replica in replicas if replica.state},
            mismatches=sum(replica.mismatches for replica in replicas),
            seconds=record.over.at_seconds if record.over else self._clock.now,
        )


def _check(federation: Federation, clients: Mapping[str, int]) -> None:
    """Refuse settings under which a run would not end, or that name who is not there."""
    rounds, settings = federation.rounds, federation.simulation
    if rounds.total is None and rounds.target is None and settings.until_seconds is None:
        raise SettingError("rounds.total: a simulation ends by it, by rounds.target or by simulation.until_seconds")
    for name in clients.keys() & {AGGREGATOR, EVALUATOR}:
        raise SettingError(f"data.partition: a client cannot be called {name}")
    for hostile in settings.hostile:
        if hostile.who not in clients:
            raise SettingError(f"simulation.hostile: nobody is called {hostile.who}")
    for incident in settings.incidents:
        known = incident.kind == "restart" if incident.who == AGGREGATOR else incident.who in clients
        if not known:
            raise SettingError(f"simulation.incidents: nobody called {incident.who} can {incident.kind}")


def _late(incidents: Iterable[Incident]) -> set[str]:
    """Who is not there from the start: those whose first incident is to join."""
    first: dict[str, str] = {}
    for incident in sorted(incidents, key=lambda incident: incident.at_seconds):
        first.setdefault(incident.who, incident.kind)
    return {who for who, kind in first.items() if kind == "join"}
