"""What an aggregator can ask of the world; each effect says which event answers it."""

from dataclasses import dataclass

from fedkseed.messages import Evaluation, Receipt, SnapshotRequest, Update
from fedkseed.transport.door import Acknowledge, Publish
from fedkseed_aggregator.events import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Let the ledger decide updates: Changed."""

    arrivals: tuple[Arrival[Update], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Let the ledger keep scores: Changed."""

    arrival: Arrival[Evaluation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Let the ledger close an attempt at a version whose time is up: Closed."""

    version: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Read where the ledger stands: Recalled, with the receipts and tags that wait for it."""

    receipts: tuple[Receipt, ...] = ()
    tags: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consult:
    """Read the head for a participant: Consulted."""

    arrival: Arrival[SnapshotRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkAnnounced:
    """Let the ledger remember what was announced; no outcome."""

    version: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Feed Woke at a time, in unix seconds of the ledger's clock."""

    at_seconds: float
    version: int
    attempt: int


Effect = Fold | Score | Close | Recall | Consult | MarkAnnounced | Wake | Publish | Acknowledge
