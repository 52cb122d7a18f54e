"""Metrics of a connection to the broker: what passes, what waits, what is wrong."""

from collections.abc import Callable, Mapping
from itertools import product

from fedkseed.metrics.registry import Registry

DIRECTIONS = ("sent", "received")
MESSAGES = ("round", "update", "receipt", "snapshot_request", "snapshot", "evaluation", "dead_letter", "unreadable")
LINES = ("publishing", "consuming")
QUEUES = ("updates", "snapshots", "evaluations", "mailbox", "receipts")
BACKLOGS = ("updates", "snapshots", "evaluations", "dead")
REASONS = ("size", "format", "schema", "type", "content", "sender", "misplaced")

SocketBytes = Mapping[tuple[str, ...], float]  # bytes by (line, direction)


def _zeros(*labels: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    """A number for each combination of labels."""
    return dict.fromkeys(product(*labels), 0.0)


class TransportMetrics:
    """Of every service.

    Args:
        registry: where they are declared.
        traffic: bytes on the sockets so far, by line and direction.
    """

    def __init__(self, registry: Registry, traffic: Callable[[], SocketBytes] = dict) -> None:
        both = {"direction": DIRECTIONS, "message": MESSAGES}
        # Messages pass by the thousand: what is said of each is kept in plain dictionaries, read when the metrics are.
        self._messages, self._bytes, self._framed = (_zeros(DIRECTIONS, MESSAGES) for _ in range(3))
        self._held, self._unconfirmed = _zeros(QUEUES), _zeros()
        registry.counted_elsewhere(
            "messages_total", "Messages handed to the broker, or delivered by it.", lambda: self._messages, **both
        )
        registry.counted_elsewhere(
            "message_bytes_total", "Bytes of these messages, as they are encoded.", lambda: self._bytes, **both
        )
        registry.counted_elsewhere(
            "message_framed_bytes_total",
            "Bytes of these messages with AMQP's frames, properties, and one confirmation or acknowledgement each.",
            lambda: self._framed,
            **both,
        )
        registry.counted_elsewhere(
            "socket_bytes_total",
            "Bytes of AMQP on the connections: all of it, heartbeats and handshakes too, without TLS and TCP.",
            traffic,
            line=LINES,
            direction=DIRECTIONS,
        )
        self._redelivered = registry.counter("redeliveries_total", "Deliveries that came before.", message=MESSAGES)
        self._unreadable = registry.counter(
            "dead_letters_total",
            "Deliveries that are no message: dead letters at the aggregator, else dropped.",
            reason=REASONS,
        )
        self._over_quota = registry.counter(
            "over_quota_total", "Deliveries dropped unread, of senders that send too much; at the aggregator.", queue=QUEUES
        )
        registry.kept_elsewhere(
            "deliveries_held", "Deliveries that are not acknowledged yet.", lambda: self._held, queue=QUEUES
        )
        registry.kept_elsewhere(
            "publications_unconfirmed", "Publications that the broker has not answered.", lambda: self._unconfirmed
        )
        self._answered = registry.counter(
            "publications_total", "Publications by answer; unconfirmed ones are repeated.", answer=("confirmed", "unconfirmed")
        )
        self._up = registry.gauge("line_up", "Whether a connection is up and its topology declared.", line=LINES)
        self._connects = registry.counter("connects_total", "Times that a connection came up.", line=LINES)
        self._disconnects = registry.counter(
            "disconnects_total", "Times that a connection was lost, or could not be made.", line=LINES
        )
        self._blocked = registry.gauge("broker_blocked", "Whether the broker takes nothing, being short of memory or disk.")
        self._blocked_seconds = registry.counter("broker_blocked_seconds_total", "Time that it has done so.")
        self._returned = registry.counter(
            "returned_total", "Messages that no queue was there for; those required are repeated.", required=("yes", "no")
        )
        self._refused = registry.counter("refused_total", "Times that a queue was full.")

    def sent(self, message: str, body: int, framed: int) -> None:
        """A message was handed to the broker: bytes without and with frames."""
        self._passed("sent", message, body, framed)

    def received(self, message: str, body: int, framed: int, *, again: bool) -> None:
        """A message was delivered, perhaps again."""
        self._passed("received", message, body, framed)
        if again:
            self._redelivered.labels(message).inc()

    def over_quota(self, queue: str, count: int) -> None:
        """Deliveries were dropped unread."""
        self._over_quota.labels(queue).inc(count)

    def unreadable(self, reason: str) -> None:
        """A delivery was no message."""
        self._unreadable.labels(reason).inc()

    def held(self, queue: str, deliveries: int) -> None:
        """So many deliveries of a queue are not acknowledged."""
        self._held[queue,] = deliveries

    def outstanding(self, publications: int) -> None:
        """So many publications are not answered."""
        self._unconfirmed[()] = publications

    def answered(self, answer: str) -> None:
        """A publication was answered."""
        self._answered.labels(answer).inc()

    def connected(self, line: str) -> None:
        """A line is up."""
        self._up.labels(line).set(1)
        self._connects.labels(line).inc()

    def disconnected(self, line: str) -> None:
        """A line is down."""
        self._up.labels(line).set(0)
        self._disconnects.labels(line).inc()

    def blocked(self) -> None:
        """The broker takes nothing."""
        self._blocked.set(1)

    def unblocked(self, seconds: float) -> None:
        """It took nothing for so long."""
        self._blocked.set(0)
        self._blocked_seconds.inc(seconds)

    def returned(self, *, required: bool) -> None:
        """No queue was there for a message."""
        self._returned.labels("yes" if required else "no").inc()

    def refused(self) -> None:
        """A queue was full."""
        self._refused.inc()

    def _passed(self, direction: str, message: str, body: int, framed: int) -> None:
        passing = direction, message
        self._messages[passing] += 1
        self._bytes[passing] += body
        self._framed[passing] += framed


class BacklogMetrics:
    """Of the queues that an aggregator empties, and of the dead letters."""

    def __init__(self, registry: Registry) -> None:
        self._waiting = registry.gauge(
            "queue_messages", "Messages that wait in a queue, not handed out yet; looked at every ten seconds.", queue=BACKLOGS
        )

    def waiting(self, queue: str, messages: int) -> None:
        """So many messages wait."""
        self._waiting.labels(queue).set(messages)
