"""What an aggregator can be told: what came from the broker, and what became of its effects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.messages import Evaluation, Receipt, SnapshotRequest, Update
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.door import Undecodable

M_co = TypeVar("M_co", Update, SnapshotRequest, Evaluation, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival(Generic[M_co]):
    """A message that a delivery brought, not acknowledged yet."""

    tag: int
    message: M_co
    size: int = field(default=0, compare=False)  # bytes of its body, for who counts them


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The process has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time to look whether somebody else has changed the ledger: an operator, another aggregator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatesArrived:
    """A micro-batch of updates, in the order of delivery."""

    arrivals: tuple[Arrival[Update], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAsked:
    """A participant cannot follow."""

    arrival: Arrival[SnapshotRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationArrived:
    """A version was scored."""

    arrival: Arrival[Evaluation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """Deliveries of participants that send too much; nobody has read them."""

    tags: tuple[int, ...]
    dropped: Mapping[tuple[str, str], int]  # how many, by the role of the queue and the routing key


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The ledger has taken a change; the deliveries that caused it wait for their acknowledgement."""

    folded: Folded
    tags: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The ledger was told that a deadline has passed."""

    folded: Folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Where the ledger stands, and its log since the last announcement, where the head does not say all of it."""

    head: Head
    commits: tuple[Commit, ...]
    receipts: tuple[Receipt, ...]
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consulted:
    """The head, read for a participant that asked."""

    head: Head
    arrival: Arrival[SnapshotRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """The deadline of an attempt at a version has come."""

    version: int
    attempt: int


Event = (
    Started
    | Ticked
    | UpdatesArrived
    | SnapshotAsked
    | EvaluationArrived
    | Undecodable
    | Excess
    | Changed
    | Closed
    | Recalled
    | Consulted
    | Confirmed
    | Unconfirmed
    | Woke
)
