"""A simulated process: a reactor, the connection it serves, and the timers it has asked for.

Everything ends with the process: what it was waiting for never comes, what it had not acknowledged goes back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from fedkseed.transport.broker import Broker, Notice
from fedkseed.transport.topology import Topology
from fedkseed_simulator.clock import Timer, VirtualClock

E = TypeVar("E")  # event


class Process(Generic[E]):
    """Feeds a reactor from a broker and from timers.

    Args:
        clock: virtual time.
        broker: the connection of this process, not started yet.
        read: turns what the broker said since the last turn into events.
    """

    def __init__(self, clock: VirtualClock, broker: Broker, read: Callable[[Sequence[Notice]], Iterable[E]]) -> None:
        self._clock = clock
        self._broker = broker
        self._read = read
        self._inbox: list[Notice] = []
        self._timers: list[Timer] = []
        self.alive = False

    def start(self, feed: Callable[[E], None], first: E, topology: Topology, queues: Sequence[str]) -> None:
        """Connect, and feed the first event."""
        self.alive = True
        self._feed = feed
        self._broker.start(topology, queues, self._notify)
        feed(first)

    def stop(self) -> None:
        """End, in order or not: there is no difference."""
        if self.alive:
            self.alive = False
            self._broker.close()
            for timer in self._timers:
                timer.cancelled = True

    def later(self, seconds: float, make: Callable[[], E]) -> Timer:
        """Feed an event after so many seconds; it is made when its time comes."""
        timer = self._clock.after(seconds, lambda: self._feed(make()))
        self._timers = [waiting for waiting in self._timers if waiting.at_seconds >= self._clock.now and not waiting.cancelled]
        self._timers.append(timer)
        return timer

    def _notify(self, notice: Notice) -> None:
        """Take what the broker says; what it says at one time is read together."""
        if not self._inbox:
            self._timers.append(self._clock.after(0.0, self._turn))
        self._inbox.append(notice)

    def _turn(self) -> None:
        notices, self._inbox = self._inbox, []
        for event in self._read(notices):
            if self.alive:
                self._feed(event)
