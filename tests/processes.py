"""Waiting for a federation of real processes."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120.0


def until(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition in the world outside, for so long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)  # a look at another process, not a guess at how long it takes
