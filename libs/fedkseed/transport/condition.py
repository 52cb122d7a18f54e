"""What a connection to a broker says of itself, for logs and metrics: facts, in the order in which they happen."""

from dataclasses import dataclass
from typing import Literal

Line = Literal["publishing", "consuming", "looking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A line is up: its topology is declared, its consumers are there."""

    line: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """A line is down, or could not be brought up; it is tried again."""

    line: Line
    reason: str
    again_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """Something that others declare is not there yet; it is looked for again."""

    line: Line
    what: str  # in the broker's words
    again_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The broker is short of something and reads nothing more from those who publish."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unblocked:
    """The broker reads again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """No queue was there for a letter; one that was required is published again, once the topology is declared anew."""

    exchange: str
    key: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A queue is full; what it does not take is published again after a pause."""

    again_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """So many letters wait in a queue that is looked at now and then; those handed out are not among them."""

    queue: str
    letters: int


Condition = Connected | Disconnected | Awaiting | Blocked | Unblocked | Returned | Refused | Waiting
