"""What happens in a simulation, as frozen facts: for a live display, for metrics, and for what `run` returns."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fedkseed.federation import Incident
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head
from fedkseed.messages import Receipt
from fedkseed_simulator.network import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDecided:
    """An update got its receipt; one that was voided later gets a second one."""

    at_seconds: float
    receipt: Receipt
    loss: float  # as its client measured it
    training_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundClosed:
    """A round became the next version."""

    opened_seconds: float
    closed_seconds: float
    commit: Commit
    loss: float  # mean of its members, weighted as they were folded; nan without any
    size: int  # bytes between participants and broker while it was open, as encoded

    @property
    def version(self) -> int:
        """The version that it made."""
        return self.commit.version


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundExtended:
    """Time was up with too few updates: the round was announced again."""

    at_seconds: float
    version: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A version got its scores."""

    at_seconds: float
    version: int
    metrics: Mapping[str, float]
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOver:
    """The last version was announced."""

    at_seconds: float
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentHappened:
    """A participant joined, left or restarted."""

    at_seconds: float
    incident: Incident


Fact = UpdateDecided | RoundClosed | RoundExtended | Scored | TrainingOver | IncidentHappened


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Messages of one kind between one participant and the broker, while one version was the newest."""

    participant: str
    version: int
    direction: Direction  # up: sent by the participant, every attempt counted
    kind: str  # round, update, receipt, request, snapshot, evaluation
    messages: int
    size: int  # bytes as encoded


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a simulation came to."""

    head: Head
    log: tuple[Commit, ...]
    receipts: tuple[Receipt, ...]  # the latest of every update, in the order of their first ones
    repeated: int  # deliveries of updates that had been decided before
    rounds: tuple[RoundClosed, ...]
    scores: tuple[Scored, ...]
    flows: tuple[Flow, ...]
    slowness: Mapping[str, float]  # by client: the factor on the time of a step
    states: Mapping[str, tuple[int, bytes]]  # by participant: the version it holds, and its state digest, 32 bytes
    mismatches: int  # copies of the ledger that were discarded
    seconds: float  # virtual time until training was over, or the simulation

    @property
    def outcomes(self) -> Counter[str]:
        """How many updates had each outcome."""
        return Counter(receipt.outcome for receipt in self.receipts)

    @property
    def staleness(self) -> Counter[int]:
        """How many updates that count had each staleness."""
        return Counter(receipt.staleness for receipt in self.receipts if receipt.weight)
