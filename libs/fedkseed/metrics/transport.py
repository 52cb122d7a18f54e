"""Metrics of a connection to the broker: what passes, what waits, what is wrong."""

from collections.abc import Callable, Mapping

from fedkseed.metrics.registry import Registry

DIRECTIONS = ("sent", "received")
MESSAGES = ("round", "update", "receipt", "snapshot_request", "snapshot", "evaluation", "dead_letter", "unreadable")
LINES = ("publishing", "consuming")
QUEUES = ("updates", "snapshots", "evaluations", "mailbox", "receipts")
BACKLOGS = ("updates", "snapshots", "evaluations", "dead")
REASONS = ("size", "format", "schema", "type", "content", "sender", "misplaced")

SocketBytes = Mapping[tuple[str, ...], float]  # bytes by (line, direction)


class TransportMetrics:
    """Of every service.

    Args:
        registry: where they are declared.
        traffic: bytes on the sockets so far, by line and direction.
    """

    def __init__(self, registry: Registry, traffic: Callable[[], SocketBytes] = dict) -> None:
        both = {"direction": DIRECTIONS, "message": MESSAGES}
        self._messages = registry.counter("messages_total", "Messages handed to the broker, or delivered by it.", **both)
        self._bytes = registry.counter("message_bytes_total", "Bytes of these messages, as they are encoded.", **both)
        self._framed = registry.counter(
            "message_framed_bytes_total",
            "Bytes of these messages with AMQP's frames, properties, and one confirmation or acknowledgement each.",
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
        self._held = registry.gauge("deliveries_held", "Deliveries that are not acknowledged yet.", queue=QUEUES)
        self._unconfirmed = registry.gauge("publications_unconfirmed", "Publications that the broker has not answered.")
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
        self._redelivered.labels(message).inc(again)

    def unreadable(self, reason: str) -> None:
        """A delivery was no message."""
        self._unreadable.labels(reason).inc()

    def held(self, queue: str, deliveries: int) -> None:
        """So many deliveries of a queue are not acknowledged."""
        self._held.labels(queue).set(deliveries)

    def outstanding(self, publications: int) -> None:
        """So many publications are not answered."""
        self._unconfirmed.set(publications)

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
        self._messages.labels(direction, message).inc()
        self._bytes.labels(direction, message).inc(body)
        self._framed.labels(direction, message).inc(framed)


class BacklogMetrics:
    """Of the queues that an aggregator empties, and of the dead letters."""

    def __init__(self, registry: Registry) -> None:
        self._waiting = registry.gauge(
            "queue_messages", "Messages that wait in a queue, not handed out yet; looked at every ten seconds.", queue=BACKLOGS
        )

    def waiting(self, queue: str, messages: int) -> None:
        """So many messages wait."""
        self._waiting.labels(queue).set(messages)
