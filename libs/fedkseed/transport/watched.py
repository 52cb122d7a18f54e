"""A connection to a broker that somebody watches: everything that passes is told, unchanged, before it goes on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fedkseed.transport.broker import Broker, Delivery, Envelope, Notice
from fedkseed.transport.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Letters were handed to the broker."""

    token: int
    envelopes: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """Deliveries are dealt with."""

    tags: tuple[int, ...]


Passage = Notice | Published | Acknowledged


class WatchedBroker:
    """A `Broker`.

    Args:
        broker: the connection itself.
        observe: told what passes; called on any thread, must not wait.
    """

    def __init__(self, broker: Broker, observe: Callable[[Passage], None]) -> None:
        self._broker, self._observe = broker, observe

    def start(self, topology: Topology, queues: Sequence[str], notify: Callable[[Notice], None]) -> None:
        """See Broker."""

        def tell(notice: Notice) -> None:
            self._observe(notice)
            notify(notice)

        self._broker.start(topology, queues, tell)

    def look(self, queue: str) -> tuple[Delivery, ...]:
        """See Broker; what is only looked at does not pass."""
        return self._broker.look(queue)

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """See Broker."""
        self._observe(Published(token=token, envelopes=tuple(envelopes)))
        self._broker.publish(token, envelopes)

    def acknowledge(self, tags: Iterable[int]) -> None:
        """See Broker."""
        done = tuple(tags)
        self._observe(Acknowledged(tags=done))
        self._broker.acknowledge(done)

    def close(self) -> None:
        """See Broker."""
        self._broker.close()
