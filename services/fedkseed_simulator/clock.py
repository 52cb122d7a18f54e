"""A virtual clock: time is the next thing on the list.

Nothing waits. What is due at the same time happens in the order in which it was asked for.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True, order=True)
class Timer:
    """Something to be done at a time, unless it is cancelled before."""

    at_seconds: float
    number: int  # breaks ties
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class VirtualClock:
    """Does what it is asked for in the order of virtual time; `now` starts at 0 seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []
        self._numbers = count()

    def at(self, at_seconds: float, action: Callable[[], None]) -> Timer:
        """Do something at a time; at once when it is past."""
        timer = Timer(at_seconds=max(at_seconds, self.now), number=next(self._numbers), action=action)
        heapq.heappush(self._timers, timer)
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something in so many seconds."""
        return self.at(self.now + seconds, action)

    def run(self, *, until_seconds: float, while_: Callable[[], bool]) -> None:
        """Let time pass until nothing is left to do, a time is reached, or the condition no longer holds."""
        while self._timers and while_():
            timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            if timer.at_seconds > until_seconds:
                self.now = until_seconds
                return
            self.now = timer.at_seconds
            timer.action()
