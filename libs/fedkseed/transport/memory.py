"""A broker in this process, for one thread: what simulations and embedded federations run over.

Letters are bytes here too, so that what works over this broker works over a wire. A notice is given at once, within the
call that caused it. Consumers of one queue take turns. Of a queue's limits only its length is kept: there is no time here, and
nobody dies of a letter. Nor is there anything to wait for: a queue may be bound to an exchange before somebody declares that.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fedkseed.errors import QueueMissing
from fedkseed.transport.broker import Confirmed, Delivery, Envelope, Notice, Unconfirmed
from fedkseed.transport.topology import Binding, Queue, Stream, Topology


@dataclass(slots=True)
class _Letter:
    """An envelope in a queue."""

    envelope: Envelope
    redelivered: bool = False

    def delivery(self, tag: int, queue: str) -> Delivery:
        """The letter as it comes out of a queue."""
        return Delivery(
            tag=tag,
            queue=queue,
            key=self.envelope.to.key,
            body=self.envelope.body,
            headers=self.envelope.headers,
            redelivered=self.redelivered,
        )


@dataclass(slots=True)
class _Queue:
    """Letters that nobody holds, and who takes them."""

    spec: Queue | Stream
    letters: deque[_Letter] = field(default_factory=deque)
    consumers: deque["MemoryConnection"] = field(default_factory=deque)

    def put(self, letter: _Letter) -> bool:
        """Take a letter in; a queue that is too long drops its oldest, or refuses the newest: False."""
        if isinstance(self.spec, Stream):
            self.letters.append(letter)
            return True
        if self.spec.overflow == "reject-publish" and len(self.letters) >= self.spec.max_length:
            return False
        self.letters.append(letter)
        self.hand_out()
        if len(self.letters) > self.spec.max_length:
            self.letters.popleft()
        return True

    def hand_out(self) -> None:
        """Give what waits to the consumers, in turn."""
        while self.letters and self.consumers:
            self.consumers.rotate(-1)
            self.consumers[-1].deliver(self.spec.name, self.letters.popleft())


class MemoryBroker:
    """Queues and bindings; services reach it through `connect`."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._bindings: list[Binding] = []

    def connect(self) -> "MemoryConnection":
        """A new connection."""
        return MemoryConnection(self)

    def declare(self, topology: Topology) -> None:
        """Make what is not there yet."""
        for spec in topology.queues:
            self._queues.setdefault(spec.name, _Queue(spec))
        self._bindings.extend(binding for binding in topology.bindings if binding not in self._bindings)

    def queue(self, name: str) -> _Queue:
        """A declared queue.

        Raises:
            QueueMissing: it was never declared.
        """
        if name not in self._queues:
            raise QueueMissing(f"no queue {name}")
        return self._queues[name]

    def route(self, envelope: Envelope) -> bool:
        """Put a copy of an envelope into every queue that it is for, once each; whether it got where it must."""
        taken = [self._queues[name].put(_Letter(envelope)) for name in dict.fromkeys(self._targets(envelope))]
        return all(taken) and (bool(taken) or not envelope.to.required)

    def waiting(self, name: str) -> tuple[bytes, ...]:
        """The bodies in a queue that nobody has taken."""
        return tuple(letter.envelope.body for letter in self._queues[name].letters)

    def _targets(self, envelope: Envelope) -> Iterable[str]:
        exchange, key = envelope.to.exchange, envelope.to.key
        if not exchange:
            return (key,) if key in self._queues else ()
        return (b.queue for b in self._bindings if b.exchange == exchange and fits(b.pattern, key))


class MemoryConnection:
    """A `Broker` over a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._notify: Callable[[Notice], None] = _ignore
        self._queues: tuple[str, ...] = ()
        self._held: dict[int, tuple[str, _Letter]] = {}
        self._tags = 0

    def start(self, topology: Topology, queues: Sequence[str], notify: Callable[[Notice], None]) -> None:
        """See Broker."""
        self._notify, self._queues = notify, tuple(queues)
        self._broker.declare(topology)
        for name in queues:
            self._broker.queue(name).consumers.append(self)
            self._broker.queue(name).hand_out()

    def look(self, queue: str) -> tuple[Delivery, ...]:
        """See Broker."""
        seen = tuple(letter.delivery(0, queue) for letter in self._broker.queue(queue).letters)
        for letter in self._broker.queue(queue).letters:
            letter.redelivered = True
        return seen

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """See Broker; answered at once."""
        arrived = [self._broker.route(envelope) for envelope in envelopes]
        self._notify(Confirmed(token=token) if all(arrived) else Unconfirmed(token=token))

    def acknowledge(self, tags: Iterable[int]) -> None:
        """See Broker."""
        for tag in tags:
            self._held.pop(tag, None)

    def close(self) -> None:
        """See Broker."""
        for name in self._queues:
            self._broker.queue(name).consumers.remove(self)
        for name, letter in reversed(self._held.values()):
            letter.redelivered = True
            self._broker.queue(name).letters.appendleft(letter)
        self._held.clear()
        for name in self._queues:
            self._broker.queue(name).hand_out()
        self._queues, self._notify = (), _ignore

    def deliver(self, queue: str, letter: _Letter) -> None:
        """Hand a letter of a queue to the owner of this connection."""
        self._tags += 1
        self._held[self._tags] = (queue, letter)
        self._notify(letter.delivery(self._tags, queue))


def fits(pattern: str, key: str) -> bool:
    """Match a routing key as topic exchanges do: words end at dots, and `*` stands for one of them."""
    expected, words = pattern.split("."), key.split(".")
    return len(expected) == len(words) and all(e in ("*", w) for e, w in zip(expected, words, strict=True))


def _ignore(_: Notice) -> None:
    """Before a connection starts and after it ended, nobody listens."""
