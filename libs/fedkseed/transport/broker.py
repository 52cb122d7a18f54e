"""The port to a broker: one connection of one service, in bytes, at least once.

Rules that every adapter keeps:
- A delivery that was not acknowledged when its connection ended is delivered again, under a new tag. Acknowledging a tag
  that is unknown or already acknowledged does nothing.
- Every `publish` is answered by a notice with its token: `Confirmed` once every queue that its envelopes are for holds them,
  or `Unconfirmed` when that is not known, or known not to be so, and it may be published again now (the adapter has
  waited long enough). An envelope that no queue is for is dropped, and that is fine, unless its address says `required`.
- Letters of one connection reach a queue in the order in which they were published, as long as all are confirmed.
- A connection that is lost comes back by itself.
- `notify` may be called from any thread and at any time, also within `publish`; it only puts the notice where the
  service's loop finds it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fedkseed.transport.topology import Address, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is handed to a broker."""

    to: Address
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a broker hands to a consumer."""

    tag: int  # unique in the life of the Broker object, reconnections included; 0 of what was only looked at
    queue: str
    key: str  # the routing key it was published with
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    redelivered: bool = False
    user: str = ""  # who signed it, as the broker has checked; empty where nobody did


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The broker holds everything that was published under the token."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """The broker does not hold, or may not hold, all that was published under the token: publish it again."""

    token: int


Notice = Delivery | Confirmed | Unconfirmed


class Broker(Protocol):
    """One connection to a broker."""

    def start(self, topology: Topology, queues: Sequence[str], notify: Callable[[Notice], None]) -> None:
        """Declare the topology, then consume from the queues; called once, before all but `look`, and waits for the broker.

        It also waits for exchanges that the topology binds to and does not declare: somebody else does.

        Raises:
            BrokerDenied: it will have nothing to do with this user.
            BrokerUntrusted: the two do not agree on TLS.
            TopologyMismatch: it has one of the queues or exchanges, but another kind of it.
        """
        ...

    def look(self, queue: str) -> tuple[Delivery, ...]:
        """Everything that waits in a queue now, oldest first, left where it is; waits for the broker.

        For operators and for the start of a service, never on the path of messages: the letters are taken and given back
        together. Meanwhile others find the queue shorter or empty, and what is consumed from it then is younger. Afterwards
        the letters are in their old order before all that came later, marked as redelivered, and each has been delivered once
        in vain. What consumers hold is not seen, nor what lies beyond the oldest 65,535 letters. May be called before
        `start`, and declares nothing.

        Raises:
            BrokerDenied: it will have nothing to do with this user.
            QueueMissing: there is no such queue.
            BrokerError: the connection was closed before it was looked into.
        """
        ...

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """Publish in order; does not wait."""
        ...

    def acknowledge(self, tags: Iterable[int]) -> None:
        """Deliveries are dealt with and never come again."""
        ...

    def close(self) -> None:
        """End the connection: what is not acknowledged goes back to the front of its queue."""
        ...
