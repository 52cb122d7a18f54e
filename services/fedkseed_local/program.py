"""Programs as child processes: started, watched, ended, started again.

A child is the leader of a session of its own, so that Ctrl-C in a terminal reaches this process alone, which then ends
its children in the order that is right. If this process is killed it cannot; then, on Linux, the kernel asks each of them
to end. What they print goes to their log.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedkseed.errors import CannotStart

SECONDS_TO_START = 60.0
SECONDS_TO_END = 60.0
SERVERS = ("/usr/sbin", "/usr/bin", "/usr/lib/rabbitmq/bin")  # where packages put them, beside PATH


def find(name: str) -> str:
    """The path of a program that a package has installed.

    Raises:
        CannotStart: it is not installed.
    """
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *SERVERS))
    if (path := shutil.which(name, path=places)) is None:
        raise CannotStart(f"{name} is not installed")
    return path


def _tethered() -> tuple[str, ...]:
    """What goes before a command, so that its process does not outlive this one."""
    if sys.platform != "linux":
        return ()
    return sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")), str(os.getpid())


class Program:
    """One child process at a time.

    Args:
        command: program and arguments.
        log: what it prints is appended there; its folder is where it runs.
        environment: all of its variables.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.command, self.log, self._environment = tuple(command), log, environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the child, which has been started."""
        assert self._process
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        assert self._process
        return self._process.poll()

    def start(self) -> None:
        """Start it; does not wait for it to be ready. On Linux it ends when the thread that calls this does."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [*_tethered(), *self.command],
                cwd=self.log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> int | None:
        """Ask it to end, and wait until it has; the exit code, None when it was not started."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int | None:
        """End it without warning; the exit code, None when it was not started."""
        return self._end(signal.SIGKILL)

    def ended(self, within: float) -> bool:
        """Whether it has ended, or does so within some seconds."""
        assert self._process
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_words(self, size: int = 2000) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-size:].strip()

    def _end(self, how: signal.Signals) -> int | None:
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(how)
        if not self.ended(SECONDS_TO_END):
            self._process.kill()
        return self._process.wait()


class Server(Program):
    """A program that others connect to: started when it answers.

    A kind of server says when that is (`ready`).
    """

    def ready(self) -> bool:
        """Whether it answers; may raise OSError when it does not listen yet."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            CannotStart: it ended instead, or does not answer in time; with what it said last.
        """
        super().start()
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until it answers, once it has been started.

        Raises:
            CannotStart: it ended instead, or does not answer in time; with what it said last.
        """
        until = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            if self.ended(within=0.01) or time.monotonic() > until:
                self.kill()
                raise CannotStart(f"{self.command[0]} does not come up: {self.last_words()}")

    def restart(self) -> None:
        """Kill it, and start it again on what it has written."""
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            return self.ready()
        except OSError:
            return False
