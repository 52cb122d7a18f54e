"""A look at a broker that changes nothing and takes nothing: would a service find there what it needs?

What is there is asked for passively. Whether a user may do something is found out by a request that the broker looks at
in the order of permissions first, arguments second, and whose arguments it must refuse: what is allowed is refused for its
arguments (406), what is not allowed as such (403). So nothing is consumed, published, bound or made, and the topic
permissions of routing keys count too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

from fedkseed.errors import BrokerError
from fedkseed.transport.line import CLOSED, LOST, PRECONDITION_FAILED, Channel, Server, dial
from fedkseed.transport.topology import Address, Binding, Queue, Stream, Topology

SECONDS = 5.0  # for a broker that is short of something
NOT_FOUND = 404
WRONG_NUMBER = "a visitor"  # where a number must stand

Question = Callable[[Channel], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a visitor has seen."""

    version: str  # of the broker
    heartbeat_seconds: int  # that were agreed on; 0 is none
    missing: tuple[str, ...]  # queues and exchanges that are not there
    different: tuple[str, ...]  # what the broker says of those that are of another kind
    denied: tuple[str, ...]  # what it says of what this user may not do
    blocked: bool  # it is short of memory or disk, and reads nothing from those who publish


def visit(server: Server, topology: Topology, queues: Sequence[str], addresses: Sequence[Address]) -> Sight:
    """Look at a broker.

    Args:
        server: where it is, and as whom to go there.
        topology: what a service declares.
        queues: what it consumes.
        addresses: what it publishes to.

    Raises:
        BrokerDenied: the broker will have nothing to do with this user.
        BrokerError: it does not answer, or not any more.
    """
    connection = dial(server, SECONDS)
    try:
        return _Visitor(connection, server).look(topology, queues, addresses)
    except LOST as error:
        raise BrokerError(str(error) or type(error).__name__) from error
    finally:
        with suppress(*LOST):  # nobody waits for the farewell of a broker that reads nothing more
            connection.close()


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the broker closed a channel."""

    code: int
    text: str


class _Visitor:
    """One visit: every question has a channel of its own, because a refusal closes it."""

    def __init__(self, connection: Any, server: Server) -> None:
        self._connection, self._server = connection, server
        self._blocked = False
        self._link = connection._impl  # noqa: SLF001 - the blocking connection does not show what the broker said of itself
        self._link.add_on_connection_blocked_callback(lambda *_: self._note())

    def look(self, topology: Topology, queues: Sequence[str], addresses: Sequence[Address]) -> Sight:
        """See Sight."""
        kinds = dict(_kinds(topology))
        others = dict(_others(topology, addresses))
        missing = {
            name
            for name, question in (others | kinds).items()
            if _code(self._refusal(partial(question, passive=True))) == NOT_FOUND
        }
        right = [self._refusal(question) for name, question in kinds.items() if name not in missing]
        bound = [self._refusal(_unbind(b)) for b in topology.bindings if not {_queue(b.queue), _exchange(b.exchange)} & missing]
        doubts = [(f"consume from {name}", _consume(name)) for name in queues if _queue(name) not in missing]
        doubts += [
            (f"publish {to.key} to {_exchange(to.exchange)}", self._publish(to))
            for to in addresses
            if _exchange(to.exchange) not in missing
        ]
        denied = [f"{what}: {refusal.text}" for what, question in doubts if (refusal := self._doubt(question))]
        refusals = [refusal for refusal in (*right, *bound) if refusal]
        return Sight(
            version=str(self._link.server_properties.get("version", "")),
            heartbeat_seconds=self._link.params.heartbeat or 0,
            missing=tuple(name for name in others | kinds if name in missing),
            different=tuple(refusal.text for refusal in refusals if refusal.code == PRECONDITION_FAILED),
            denied=(*(refusal.text for refusal in refusals if refusal.code != PRECONDITION_FAILED), *denied),
            blocked=self._blocked,
        )

    def _note(self) -> None:
        self._blocked = True

    def _refusal(self, question: Question) -> _Refusal | None:
        """Ask; how the broker refused."""
        channel = self._connection.channel()
        try:
            question(channel)
        except CLOSED as error:
            return _Refusal(error.reply_code, error.reply_text)
        channel.close()
        return None

    def _doubt(self, question: Question) -> _Refusal | None:
        """Ask what must be refused for its wrong number; how it was refused for something else."""
        if self._blocked:
            return None  # nobody reads the question
        try:
            refusal = self._refusal(question)
        except LOST:
            if self._blocked:
                return None
            raise
        return None if refusal and refusal.code == PRECONDITION_FAILED and "invalid" in refusal.text else refusal

    def _publish(self, to: Address) -> Question:
        properties = copy(self._server.properties({}))
        properties.expiration = WRONG_NUMBER

        def question(channel: Channel) -> None:
            channel.confirm_delivery()
            channel.basic_publish(to.exchange, to.key, b"", properties, mandatory=True)

        return question


def _code(refusal: _Refusal | None) -> int | None:
    return refusal.code if refusal else None


def _exchange(name: str) -> str:
    return f"exchange {name}"


def _queue(name: str) -> str:
    return f"queue {name}"


def _kinds(topology: Topology) -> Iterator[tuple[str, Callable[..., object]]]:
    """How each exchange and each queue is declared; they share names."""
    for name in topology.exchanges:
        yield _exchange(name), partial(_declare_exchange, name)
    for queue in topology.queues:
        yield _queue(queue.name), partial(_declare_queue, queue)


def _others(topology: Topology, addresses: Sequence[Address]) -> Iterator[tuple[str, Callable[..., object]]]:
    """How the exchanges are declared that others declare."""
    for name in (*(binding.exchange for binding in topology.bindings), *(to.exchange for to in addresses)):
        if name and name not in topology.exchanges:
            yield _exchange(name), partial(_declare_exchange, name)


def _declare_exchange(name: str, channel: Channel, *, passive: bool = False) -> None:
    channel.exchange_declare(name, exchange_type="topic", durable=True, passive=passive)


def _declare_queue(queue: Queue | Stream, channel: Channel, *, passive: bool = False) -> None:
    channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments), passive=passive)


def _unbind(binding: Binding) -> Question:
    """Take away a binding that cannot be there: allowed to whom the true one is, and without effect."""
    mark = {"x-fedkseed-visit": True}
    return lambda channel: channel.queue_unbind(binding.queue, binding.exchange, binding.pattern, arguments=mark)


def _consume(queue: str) -> Question:
    return lambda channel: channel.basic_consume(queue, lambda *_: None, arguments={"x-priority": WRONG_NUMBER})
