"""What passes through a service's connection to the broker, and what becomes of it: as metrics, and as lines of the log.

What is told here comes from several threads, one thing at a time.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache

from fedkseed import logs
from fedkseed.codec import declared_type
from fedkseed.messages import Evaluation, Message, Receipt, Round, Snapshot, SnapshotRequest, Update
from fedkseed.metrics.transport import LINES, REASONS, TransportMetrics
from fedkseed.transport import topology
from fedkseed.transport.broker import Confirmed, Delivery, Envelope, Unconfirmed
from fedkseed.transport.condition import (
    Awaiting,
    Blocked,
    Condition,
    Connected,
    Disconnected,
    Line,
    Refused,
    Returned,
    Unblocked,
    Waiting,
)
from fedkseed.transport.door import REASON, Undecodable
from fedkseed.transport.framing import delivered, published
from fedkseed.transport.watched import Acknowledged, Passage, Published

NAMES: Mapping[type[Message], str] = {
    Round: "round",
    Update: "update",
    Receipt: "receipt",
    SnapshotRequest: "snapshot_request",
    Snapshot: "snapshot",
    Evaluation: "evaluation",
}
AGGREGATOR = "aggregator"  # as whom it is taken to sign
QUEUES = {"client": "mailbox"}  # what a queue's role is called where its name says it otherwise
CLASSES = (  # of what the door says about a delivery that is no message
    ("size", r"\d+ bytes, more than"),
    ("format", r"not msgpack|not a map"),
    ("schema", r"v: "),
    ("type", r"t: "),
    ("sender", r"\w+ with routing key"),
    ("misplaced", r"\w+ in queue"),
    ("content", r""),
)


class Traffic:
    """An observer of one connection.

    Args:
        metrics: of the service.
        user: as whom it publishes.
        waiting: called whenever a broker that was never reached was tried in vain.
        backlog: told how many letters wait in a queue, by the queue's role.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        metrics: TransportMetrics,
        user: str,
        *,
        waiting: Callable[[], None],
        backlog: Callable[[str, int], None] = lambda _queue, _letters: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._user, self._waiting, self._backlog, self._clock = metrics, user, waiting, backlog, clock
        self._lock = threading.Lock()
        self._up: set[Line] = set()
        self._awaited: dict[str, str] = {}  # what others must declare first
        self._reached = False  # ever
        self._outstanding: set[int] = set()
        self._held: dict[int, str] = {}  # queues, by the tags of deliveries
        self._holding: Counter[str] = Counter()  # deliveries, by queue
        self._blocked_since: float | None = None

    def missing(self) -> list[str]:
        """What must be up before the service can work, and is not."""
        return [self._down(line) for line in LINES if line not in self._up]

    def _down(self, line: str) -> str:
        if what := self._awaited.get(line):
            return f"the {line} line to the broker waits for what an aggregator declares: {what}"
        return f"the {line} line to the broker is down"

    def passed(self, passage: Passage) -> None:
        """Something passes."""
        with self._lock:
            match passage:
                case Delivery():
                    self._received(passage)
                case Published(token=token, envelopes=envelopes):
                    for envelope in envelopes:
                        self._sent(envelope)
                    self._outstanding.add(token)
                case Confirmed(token=token):
                    self._outstanding.discard(token)
                    self._metrics.answered("confirmed")
                case Unconfirmed(token=token):
                    self._outstanding.discard(token)
                    self._metrics.answered("unconfirmed")
                case Acknowledged(tags=tags):
                    self._release(tags)
            self._metrics.outstanding(len(self._outstanding))

    def became(self, condition: Condition) -> None:
        """The connection is in another condition."""
        with self._lock:
            match condition:
                case Connected(line=line):
                    self._connected(line)
                    logs.info("connected", line=line)
                case Disconnected(line=line, reason=reason, again_seconds=again_seconds):
                    self._disconnected(line)
                    logs.warning("disconnected", line=line, reason=reason, again_seconds=again_seconds)
                case Awaiting(line=line, what=what, again_seconds=again_seconds):
                    self._disconnected(line)
                    self._awaited[line] = what
                    logs.info("waiting for an aggregator", line=line, what=what, again_seconds=again_seconds)
                case Blocked(reason=reason):
                    self._blocked_since = self._blocked_since or self._clock()
                    self._metrics.blocked()
                    logs.warning("blocked by the broker", reason=reason)
                case Unblocked():
                    self._unblock()
                    logs.info("unblocked by the broker")
                case Returned(exchange=exchange, key=key, required=required):
                    self._metrics.returned(required=required)
                    if required:
                        logs.warning("no queue for a message", exchange=exchange, key=key)
                case Refused(again_seconds=again_seconds):
                    self._metrics.refused()
                    logs.warning("a queue is full", again_seconds=again_seconds)
                case Waiting(queue=queue, letters=letters):
                    self._backlog(topology.role(queue), letters)

    def over_quota(self, queue: str, count: int) -> None:
        """Deliveries of a queue were dropped unread."""
        self._metrics.over_quota(queue, count)

    def unreadable(self, event: Undecodable) -> None:
        """A delivery was no message."""
        self._metrics.unreadable(reason_class(event.reason))
        logs.warning("unreadable message", key=event.delivery.key, reason=event.reason)

    def _sent(self, envelope: Envelope) -> None:
        to, size, dead = envelope.to, len(envelope.body), REASON in envelope.headers
        framed = published(exchange=to.exchange, key=to.key, body=size, user=self._user, headers=envelope.headers)
        self._metrics.sent("dead_letter" if dead else name(envelope.body), size, framed)

    def _received(self, delivery: Delivery) -> None:
        size = len(delivery.body)
        exchange = "" if delivery.key == delivery.queue else origin(delivery.queue)
        sender = delivery.key.partition(".")[2] if delivery.key.startswith("update.") else AGGREGATOR
        framed = delivered(exchange=exchange, key=delivery.key, body=size, user=sender, headers=delivery.headers)
        self._metrics.received(name(delivery.body), size, framed, again=delivery.redelivered)
        self._held[delivery.tag] = held_in(delivery.queue)
        self._hold(self._held[delivery.tag], 1)

    def _release(self, tags: tuple[int, ...]) -> None:
        for queue, released in Counter(self._held.pop(tag) for tag in tags if tag in self._held).items():
            self._hold(queue, -released)

    def _hold(self, queue: str, more: int) -> None:
        self._holding[queue] += more
        self._metrics.held(queue, self._holding[queue])

    def _connected(self, line: Line) -> None:
        """Only of the lines that stay is it shown whether they are up."""
        if line in LINES:
            self._up.add(line)
            self._awaited.pop(line, None)
            self._reached = True
            self._metrics.connected(line)

    def _disconnected(self, line: Line) -> None:
        """What was held is delivered again, and nobody is blocked."""
        if line in LINES:
            self._up.discard(line)
            self._awaited.pop(line, None)
            self._metrics.disconnected(line)
        if line == "consuming":
            self._release(tuple(self._held))
        if line == "publishing":
            self._unblock()
        if not self._reached:
            self._waiting()

    def _unblock(self) -> None:
        if self._blocked_since is not None:
            self._metrics.unblocked(self._clock() - self._blocked_since)
            self._blocked_since = None


@cache
def held_in(queue: str) -> str:
    """What metrics call a queue that a service reads from."""
    role = topology.role(queue)
    return QUEUES.get(role, role)


@cache
def origin(queue: str) -> str:
    """The exchange that letters of a queue come from, unless they were sent to the queue itself."""
    federation, role = queue.split(".")[1:3]
    match role:
        case "client":
            return topology.to_all(federation).exchange
        case "receipts":
            return topology.to_client(federation, "").exchange
        case _:
            return topology.to_aggregator(federation, role, "").exchange


def name(body: bytes) -> str:
    """What metrics call a message."""
    found = declared_type(body)
    return NAMES[found] if found else "unreadable"


def reason_class(reason: str) -> str:
    """Which of a few kinds of reason a delivery is no message for."""
    return next(each for each, pattern in CLASSES if re.match(pattern, reason))


assert {each for each, _ in CLASSES} == set(REASONS)
