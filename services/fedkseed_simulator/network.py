"""The network between a participant and the broker; the aggregator stands beside the broker.

On the way up, a publication that is lost breaks the connection: nothing of it arrives, and after `RECONNECT_SECONDS` its
publisher learns that it is unconfirmed and publishes it again, as over a real broker. One that is duplicated had only its
confirmation lost. On the way down, a letter that is lost is one that a bounded queue dropped while its owner was away; one
that is duplicated was delivered, and delivered again. Every letter takes its own time, so that they overtake each other.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from fedkseed.federation import Network
from fedkseed.transport.broker import Broker, Delivery, Envelope, Notice, Unconfirmed
from fedkseed.transport.topology import Topology
from fedkseed_simulator.clock import VirtualClock

RECONNECT_SECONDS = 5.0  # longer than any answer takes on a network that works
Direction = Literal["up", "down"]


class Link:
    """A `Broker` at the far end of a network.

    Args:
        broker: a connection at its near end.
        clock: virtual time.
        network: how bad it is.
        dice: decides what happens to each letter.
        meter: sees the body of every letter that is sent or received.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: VirtualClock,
        network: Network,
        dice: np.random.Generator,
        meter: Callable[[Direction, bytes], None],
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._network = network
        self._dice = dice
        self._meter = meter
        self._closed = False

    def start(self, topology: Topology, queues: Sequence[str], notify: Callable[[Notice], None]) -> None:
        """See Broker."""
        self._notify = notify
        self._broker.start(topology, queues, self._receive)

    def look(self, queue: str) -> tuple[Delivery, ...]:
        """See Broker; takes no virtual time."""
        return self._broker.look(queue)

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """See Broker."""
        for envelope in envelopes:
            self._meter("up", envelope.body)
        copies = self._copies()
        for _ in range(copies):
            self._later(self._delay(), lambda: self._broker.publish(token, envelopes))
        if not copies:
            self._later(RECONNECT_SECONDS, lambda: self._notify(Unconfirmed(token=token)))

    def acknowledge(self, tags: Iterable[int]) -> None:
        """See Broker."""
        self._broker.acknowledge(tags)

    def close(self) -> None:
        """See Broker; what is on its way is gone."""
        self._closed = True
        self._broker.close()

    def _receive(self, notice: Notice) -> None:
        if not isinstance(notice, Delivery):
            self._later(self._delay(), lambda: self._notify(notice))
            return
        copies = self._copies()
        for _ in range(copies):
            self._later(self._delay(), lambda: self._arrive(notice))
        if not copies:
            self._broker.acknowledge((notice.tag,))

    def _arrive(self, delivery: Delivery) -> None:
        self._meter("down", delivery.body)
        self._notify(delivery)

    def _copies(self) -> int:
        """How often a letter arrives: 0, 1 or 2 times."""
        lost, duplicated = self._dice.random(2)
        return 0 if lost < self._network.lost else 2 if duplicated < self._network.duplicated else 1

    def _delay(self) -> float:
        return self._network.latency_seconds + self._network.jitter_seconds * float(self._dice.random())

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._clock.after(seconds, lambda: None if self._closed else action())
