"""A service as a process of the operating system: one thread that feeds a reactor from a broker, timers and other threads.

Rules kept here: only the thread that runs `run` touches the reactor; what the broker says at one time is read together,
so that updates become micro-batches; a process that is asked to stop takes no more deliveries, waits until what it had
begun is confirmed, and leaves the rest to be delivered again.
"""

import heapq
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Generic, TypeVar

from fedkseed.transport.broker import Broker, Delivery, Notice
from fedkseed.transport.topology import Topology

E = TypeVar("E")  # event
BATCH = 1000  # notices read together at the most
NAP_SECONDS = 3600.0  # at most between two looks at the timers: a deadline may be further away than a wait can be
GRACE_SECONDS = 10.0  # how long a stopping process waits for confirmations


class Timer:
    """Something that is to happen later, unless it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = False


class Process(Generic[E]):
    """Feeds a reactor until it is stopped.

    Args:
        broker: the connection of this process, not started yet.
        read: turns what the broker said since the last turn into events.
        busy: whether something is under way that a stopping process should wait for.
    """

    def __init__(
        self, broker: Broker, read: Callable[[Sequence[Notice]], Iterable[E]], busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._broker, self._read, self._busy = broker, read, busy
        self._inbox: queue.SimpleQueue[Notice | Callable[[], E] | threading.Event | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer, Callable[[], E]]] = []
        self._order = count()
        self._connected = False
        self.stopping = threading.Event()  # set once the process was asked to end

    def run(self, feed: Callable[[E], None], first: E, topology: Topology, queues: Sequence[str]) -> None:
        """Connect, feed the first event, and go on until `stop`; returns when everything begun is confirmed or given up.

        Raises:
            FedkseedError: the machine gave up, or the broker refuses this process.
        """
        self._broker.start(topology, queues, self._inbox.put)
        self._connected = True
        try:
            if not self.stopping.is_set():
                feed(first)
            while not self.stopping.is_set():
                self._turn(feed, self._patience())
            end = time.monotonic() + GRACE_SECONDS
            while self._busy() and time.monotonic() < end:
                self._turn(feed, 0.1)
        finally:
            self._broker.close()

    def put(self, event: E) -> None:
        """Feed an event from any thread."""
        self._inbox.put(lambda: event)

    def answers(self, within_seconds: float) -> bool:
        """Whether the process's own thread comes around to a question in time; asked on any other thread."""
        question = threading.Event()
        self._inbox.put(question)
        return question.wait(within_seconds)

    def fail(self, error: BaseException) -> None:
        """End `run` with an error that happened on another thread."""

        def reraise() -> E:
            raise error

        self._inbox.put(reraise)

    def later(self, seconds: float, make: Callable[[], E]) -> Timer:
        """Feed an event after so many seconds; called by the process's own thread."""
        timer = Timer()
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer, make))
        return timer

    def stop(self) -> None:
        """Ask the process to end; called from anywhere, a signal handler included."""
        self.stopping.set()
        self._inbox.put(None)
        if not self._connected:
            self._broker.close()  # which also ends waiting for a broker that is not there

    def _turn(self, feed: Callable[[E], None], patience: float | None) -> None:
        """Wait so many seconds for something to happen, and deal with it."""
        notices: list[Notice] = []
        for item in self._arrived(patience):
            if callable(item):
                feed(item())
            elif isinstance(item, threading.Event):
                item.set()
            elif item is not None and not (self.stopping.is_set() and isinstance(item, Delivery)):
                notices.append(item)
        for event in self._read(notices):
            feed(event)
        while self._timers and self._timers[0][0] <= time.monotonic():
            _, _, timer, make = heapq.heappop(self._timers)
            if not timer.cancelled:
                feed(make())

    def _arrived(self, patience: float | None) -> list[Notice | Callable[[], E] | threading.Event | None]:
        """What is in the inbox, after waiting for the first of it."""
        items: list[Notice | Callable[[], E] | threading.Event | None] = []
        try:
            items.append(self._inbox.get(timeout=patience))
            while len(items) < BATCH:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return items

    def _patience(self) -> float | None:
        """Until the next timer, or a while before it; for ever without one."""
        return min(max(0.0, self._timers[0][0] - time.monotonic()), NAP_SECONDS) if self._timers else None
