"""Exchanges, queues and bindings of a federation, as data; every adapter declares exactly these.

Who may write where: the aggregator to `rounds`, `receipts`, `dead` and to any mailbox, participants to `updates` only.
A participant is a client or an evaluator; its mailbox takes rounds and snapshots, its receipts have a queue of their own.
Who declares what: the aggregator what is shared, a participant its own two queues, for which it waits until there is
something to bind them to.

Every limit of a queue is stated, because what RabbitMQ does without one differs from version to version.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

ROUND_KEY = "round"
DEAD_KEY = "dead"
MAILBOX_LENGTH = 64  # rounds and snapshots kept for a participant that is away; then the oldest go
RECEIPTS_LENGTH = 1024
BACKLOG_LENGTH = 100_000  # what waits for the aggregator, and dead letters
BACKLOG_BYTES = 1 << 30
DELIVERY_LIMIT = 20  # deliveries in vain after which a letter is one that kills its readers
BROWSED = 1_000_000  # the same for queues that are looked into: every look is a delivery in vain
REQUEST_SECONDS = 60.0  # who waited longer for a snapshot has asked again
ABSENCE_SECONDS = 7 * 24 * 3600.0  # after which the queues of a participant that does not come back are removed
ARCHIVE_BYTES = 1 << 36  # 64 GiB: some sixty million updates of 200 steps
ARCHIVE_DAYS = 3650
SEGMENT_BYTES = 1 << 26
MEMBERS = 3  # of a cluster that hold a queue, where there are so many

Overflow = Literal["drop-head", "reject-publish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a letter is published: an exchange and a routing key; the exchange "" takes the name of a queue as key."""

    exchange: str
    key: str
    required: bool = False  # a queue must take the letter: without one it is not confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A durable queue of bounded length."""

    name: str
    max_length: int = BACKLOG_LENGTH  # letters
    max_bytes: int = BACKLOG_BYTES
    overflow: Overflow = "drop-head"  # the oldest letter goes, or the newest is not confirmed
    delivery_limit: int = DELIVERY_LIMIT
    dead_letters: Address | None = (
        None  # where a letter beyond the limit goes, surely: needs `reject-publish`; else it is dropped
    )
    ttl_seconds: float | None = None  # letters that waited longer are gone
    expires_seconds: float | None = None  # without a consumer for so long, the queue is removed

    @property
    def arguments(self) -> Mapping[str, str | int]:
        """What RabbitMQ calls all this: the arguments of the declaration, times in milliseconds."""
        written: dict[str, str | int] = {
            "x-queue-type": "quorum",
            "x-quorum-initial-group-size": MEMBERS,
            "x-queue-leader-locator": "balanced",
            "x-max-length": self.max_length,
            "x-max-length-bytes": self.max_bytes,
            "x-overflow": self.overflow,
            "x-delivery-limit": self.delivery_limit,
        }
        if self.dead_letters:
            written["x-dead-letter-exchange"] = self.dead_letters.exchange
            written["x-dead-letter-routing-key"] = self.dead_letters.key
            written["x-dead-letter-strategy"] = "at-least-once"
        if self.ttl_seconds is not None:
            written["x-message-ttl"] = round(1000 * self.ttl_seconds)
        if self.expires_seconds is not None:
            written["x-expires"] = round(1000 * self.expires_seconds)
        return written


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A log of letters that reading does not empty; the oldest go when it is too large or they are too old."""

    name: str
    max_bytes: int = ARCHIVE_BYTES
    max_days: int = ARCHIVE_DAYS
    segment_bytes: int = SEGMENT_BYTES  # the oldest go by segments

    @property
    def arguments(self) -> Mapping[str, str | int]:
        """See Queue."""
        return {
            "x-queue-type": "stream",
            "x-initial-cluster-size": MEMBERS,
            "x-queue-leader-locator": "least-leaders",
            "x-max-length-bytes": self.max_bytes,
            "x-max-age": f"{self.max_days}D",
            "x-stream-max-segment-size-bytes": self.segment_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Letters of an exchange whose key fits the pattern go to the queue; `*` is one word of a key, words end at dots."""

    exchange: str
    queue: str
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What must be declared before letters flow: topic exchanges, queues, bindings."""

    exchanges: tuple[str, ...]
    queues: tuple[Queue | Stream, ...]
    bindings: tuple[Binding, ...]

    def __or__(self, other: "Topology") -> "Topology":
        """Both together."""
        return Topology(
            exchanges=self.exchanges + other.exchanges,
            queues=self.queues + other.queues,
            bindings=self.bindings + other.bindings,
        )


NOTHING = Topology(exchanges=(), queues=(), bindings=())


def shared(federation: str) -> Topology:
    """What belongs to the federation as a whole: the aggregator declares it."""
    rounds, updates, receipts, dead = (_name(federation, part) for part in ("rounds", "updates", "receipts", "dead"))
    return Topology(
        exchanges=(rounds, updates, receipts, dead),
        queues=(
            Queue(name=updates_queue(federation), overflow="reject-publish", dead_letters=to_dead(federation)),
            Queue(name=snapshots_queue(federation), ttl_seconds=REQUEST_SECONDS),
            Queue(name=evaluations_queue(federation), overflow="reject-publish"),
            Queue(name=dead_queue(federation), delivery_limit=BROWSED),
            Queue(name=last_queue(federation), max_length=1, delivery_limit=BROWSED),
        ),
        bindings=(
            Binding(exchange=updates, queue=updates_queue(federation), pattern="update.*"),
            Binding(exchange=updates, queue=snapshots_queue(federation), pattern="snapshot.*"),
            Binding(exchange=updates, queue=evaluations_queue(federation), pattern="evaluation.*"),
            Binding(exchange=dead, queue=dead_queue(federation), pattern=DEAD_KEY),
            Binding(exchange=rounds, queue=last_queue(federation), pattern=ROUND_KEY),
        ),
    )


def archive(federation: str) -> Topology:
    """Every update as it came, for who asks for it: the aggregator declares it."""
    stream = archive_stream(federation)
    binding = Binding(exchange=_name(federation, "updates"), queue=stream, pattern="update.*")
    return Topology(exchanges=(), queues=(Stream(name=stream),), bindings=(binding,))


def personal(federation: str, participant: str) -> Topology:
    """What belongs to one participant, who declares it."""
    mailbox, receipts = mailbox_queue(federation, participant), receipts_queue(federation, participant)
    return Topology(
        exchanges=(),
        queues=(
            Queue(name=mailbox, max_length=MAILBOX_LENGTH, expires_seconds=ABSENCE_SECONDS),
            Queue(name=receipts, max_length=RECEIPTS_LENGTH, expires_seconds=ABSENCE_SECONDS),
        ),
        bindings=(
            Binding(exchange=_name(federation, "rounds"), queue=mailbox, pattern=ROUND_KEY),
            Binding(exchange=_name(federation, "receipts"), queue=receipts, pattern=participant),
        ),
    )


def archive_stream(federation: str) -> str:
    """Every update as it came."""
    return _name(federation, "archive")


def updates_queue(federation: str) -> str:
    """Updates of all clients."""
    return _name(federation, "updates")


def snapshots_queue(federation: str) -> str:
    """Requests for snapshots."""
    return _name(federation, "snapshots")


def evaluations_queue(federation: str) -> str:
    """Scores of versions."""
    return _name(federation, "evaluations")


def dead_queue(federation: str) -> str:
    """Letters that nobody could read, or that killed their readers."""
    return _name(federation, "dead")


def last_queue(federation: str) -> str:
    """The last announcement, and only that one: the broker's memory of how far the federation has come."""
    return _name(federation, "last")


def mailbox_queue(federation: str, participant: str) -> str:
    """Rounds and snapshots for one participant."""
    return _name(federation, f"client.{participant}")


def receipts_queue(federation: str, client: str) -> str:
    """Receipts for one client."""
    return _name(federation, f"receipts.{client}")


def role(queue: str) -> str:
    """What a queue of a federation is for, whoever it belongs to: `updates`, `client`, `receipts`, ..."""
    return queue.split(".")[2]


def to_all(federation: str) -> Address:
    """Where rounds are announced."""
    return Address(exchange=_name(federation, "rounds"), key=ROUND_KEY)


def to_mailbox(federation: str, participant: str) -> Address:
    """Where one participant gets what nobody else asked for."""
    return Address(exchange="", key=mailbox_queue(federation, participant))


@lru_cache(1 << 14)
def to_client(federation: str, client: str) -> Address:
    """Where the receipts of a client go."""
    return Address(exchange=_name(federation, "receipts"), key=client)


def to_aggregator(federation: str, kind: str, participant: str) -> Address:
    """Where a participant sends what it has to say: kind is `update`, `snapshot` or `evaluation`."""
    return to_origin(federation, f"{kind}.{participant}")


def to_origin(federation: str, key: str) -> Address:
    """Where a participant published with a routing key, for who sends the same again."""
    return Address(exchange=_name(federation, "updates"), key=key, required=True)


def to_dead(federation: str) -> Address:
    """Where letters go that cannot be read, with the reason."""
    return Address(exchange=_name(federation, "dead"), key=DEAD_KEY, required=True)


def _name(federation: str, part: str) -> str:
    return f"fedkseed.{federation}.{part}"
