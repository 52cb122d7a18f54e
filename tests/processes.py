"""A federation of real processes: services started as a user would, over private servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 120.0


class Service:
    """One process of the command `fedkseed`.

    Args:
        name: of its log.
        folder: where its log goes.
        arguments: of the command.
        environment: FEDKSEED_* variables.
    """

    def __init__(self, name: str, folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        self._arguments, self._environment = arguments, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **self._environment}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "fedkseed_cli", *self._arguments]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        assert self._process
        return self._process.poll()

    def _end(self, how: signal.Signals) -> int:
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(how)
        return self._process.wait(PATIENCE_SECONDS)


def until(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition in the world outside, for so long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)  # a look at another process, not a guess at how long it takes
