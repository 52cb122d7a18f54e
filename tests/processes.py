"""Real processes: starting them, and waiting for a federation of them."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 120.0


@contextmanager
def interruptible() -> Iterator[None]:
    """What is started meanwhile heeds SIGINT, even where the tests do not: a shell starts its background jobs deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a handler is not inherited, ignoring is
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def until(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition in the world outside, for so long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)  # a look at another process, not a guess at how long it takes
