"""The one loop of every service: event -> step -> effects -> outcomes, which are events again.

A step decides and touches nothing; `carry_out` touches the world and decides nothing. Effects of one step are carried out in
their order, all of them before the next event. An event that comes while the loop runs waits for its turn.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

S = TypeVar("S")  # state
E = TypeVar("E")  # event
F = TypeVar("F")  # effect


class Reactor(Generic[S, E, F]):
    """Drives one machine; `state` is what it has come to.

    Args:
        state: what the machine starts from.
        step: the machine, pure.
        carry_out: does an effect and returns the events that are known at once; later ones are fed.
        observe: sees every event and every effect, before it is dealt with.
    """

    def __init__(
        self,
        state: S,
        step: Callable[[S, E], tuple[S, tuple[F, ...]]],
        carry_out: Callable[[F], Iterable[E]],
        observe: Callable[[E | F], None] = lambda _: None,
    ) -> None:
        self.state = state
        self._step = step
        self._carry_out = carry_out
        self._observe = observe
        self._events: deque[E] = deque()
        self._running = False

    def feed(self, event: E) -> None:
        """Take an event, and go on until nothing is left to do."""
        self._events.append(event)
        if self._running:
            return
        self._running = True
        try:
            while self._events:
                self._turn(self._events.popleft())
        finally:
            self._running = False

    def _turn(self, event: E) -> None:
        self._observe(event)
        self.state, effects = self._step(self.state, event)
        for effect in effects:
            self._observe(effect)
            self._events.extend(self._carry_out(effect))
