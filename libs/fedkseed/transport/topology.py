"""Exchanges, queues and bindings of a federation, as data; every adapter declares exactly these.

Who may write where: the aggregator to `rounds`, `receipts`, `dead` and to any mailbox, participants to `updates` only.
A participant is a client or an evaluator; its mailbox takes rounds and snapshots, its receipts have a queue of their own.
"""

from dataclasses import dataclass

ROUND_KEY = "round"
DEAD_KEY = "dead"
MAILBOX_LENGTH = 64  # rounds and snapshots kept for a participant that is away; then the oldest go
RECEIPTS_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a letter is published: an exchange and a routing key; the exchange "" takes the name of a queue as key."""

    exchange: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue; one of bounded length drops its oldest letters."""

    name: str
    max_length: int | None = None


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
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]

    def __or__(self, other: "Topology") -> "Topology":
        """Both together."""
        return Topology(
            exchanges=self.exchanges + other.exchanges,
            queues=self.queues + other.queues,
            bindings=self.bindings + other.bindings,
        )


def shared(federation: str) -> Topology:
    """What belongs to the federation as a whole."""
    rounds, updates, receipts, dead = (_name(federation, part) for part in ("rounds", "updates", "receipts", "dead"))
    return Topology(
        exchanges=(rounds, updates, receipts, dead),
        queues=(
            Queue(name=updates_queue(federation)),
            Queue(name=snapshots_queue(federation)),
            Queue(name=evaluations_queue(federation)),
            Queue(name=dead),
            Queue(name=_name(federation, "last"), max_length=1),
        ),
        bindings=(
            Binding(exchange=updates, queue=updates_queue(federation), pattern="update.*"),
            Binding(exchange=updates, queue=snapshots_queue(federation), pattern="snapshot.*"),
            Binding(exchange=updates, queue=evaluations_queue(federation), pattern="evaluation.*"),
            Binding(exchange=dead, queue=dead, pattern=DEAD_KEY),
            Binding(exchange=rounds, queue=_name(federation, "last"), pattern=ROUND_KEY),
        ),
    )


def personal(federation: str, participant: str) -> Topology:
    """What belongs to one participant."""
    mailbox, receipts = mailbox_queue(federation, participant), receipts_queue(federation, participant)
    return Topology(
        exchanges=(),
        queues=(Queue(name=mailbox, max_length=MAILBOX_LENGTH), Queue(name=receipts, max_length=RECEIPTS_LENGTH)),
        bindings=(
            Binding(exchange=_name(federation, "rounds"), queue=mailbox, pattern=ROUND_KEY),
            Binding(exchange=_name(federation, "receipts"), queue=receipts, pattern=participant),
        ),
    )


def updates_queue(federation: str) -> str:
    """Updates of all clients."""
    return _name(federation, "updates")


def snapshots_queue(federation: str) -> str:
    """Requests for snapshots."""
    return _name(federation, "snapshots")


def evaluations_queue(federation: str) -> str:
    """Scores of versions."""
    return _name(federation, "evaluations")


def mailbox_queue(federation: str, participant: str) -> str:
    """Rounds and snapshots for one participant."""
    return _name(federation, f"client.{participant}")


def receipts_queue(federation: str, client: str) -> str:
    """Receipts for one client."""
    return _name(federation, f"receipts.{client}")


def to_all(federation: str) -> Address:
    """Where rounds are announced."""
    return Address(exchange=_name(federation, "rounds"), key=ROUND_KEY)


def to_mailbox(federation: str, participant: str) -> Address:
    """Where one participant gets what nobody else asked for."""
    return Address(exchange="", key=mailbox_queue(federation, participant))


def to_client(federation: str, client: str) -> Address:
    """Where the receipts of a client go."""
    return Address(exchange=_name(federation, "receipts"), key=client)


def to_aggregator(federation: str, kind: str, participant: str) -> Address:
    """Where a participant sends what it has to say: kind is `update`, `snapshot` or `evaluation`."""
    return Address(exchange=_name(federation, "updates"), key=f"{kind}.{participant}")


def to_dead(federation: str) -> Address:
    """Where letters go that cannot be read, with the reason."""
    return Address(exchange=_name(federation, "dead"), key=DEAD_KEY)


def _name(federation: str, part: str) -> str:
    return f"fedkseed.{federation}.{part}"
