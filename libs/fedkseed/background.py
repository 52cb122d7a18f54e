"""Work beside the loop of a service, so that heartbeats go on for the hours that it may take.

A process must not end while a thread of it is inside torch, which aborts then: work is waited for, and gives up by itself
where it looks whether anybody still wants it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Abandoned(Exception):
    """Raised inside work that nobody wants any more, where it looks."""


class Cancellation:
    """Whether a piece of work was abandoned, as the work itself finds out."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Ask the work to give up."""
        self._asked.set()

    def check(self) -> None:
        """Go on, unless nobody wants the work.

        Raises:
            Abandoned: nobody does.
        """
        if self._asked.is_set():
            raise Abandoned

    def wait(self, seconds: float) -> None:
        """Do nothing for a while.

        Raises:
            Abandoned: nobody wants the work any more.
        """
        self._asked.wait(seconds)
        self.check()


class Background:
    """One thread that does one piece of work at a time; what was abandoned ends before the next begins.

    Args:
        name: of the thread.
        fail: told what went wrong in a piece of work; called from the thread.
    """

    def __init__(self, name: str, fail: Callable[[BaseException], None]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._fail = fail
        self._newest = Cancellation()

    def begin(self, work: Callable[[Cancellation], None]) -> None:
        """Have something done; what was begun before is done or abandoned."""
        self._newest = Cancellation()
        self._thread.submit(self._do, work, self._newest)

    def abandon(self) -> None:
        """What was begun last is of no use any more."""
        self._newest.ask()

    def end(self) -> None:
        """Abandon what is under way and wait until it has given up; nothing can be begun after that."""
        self.abandon()
        self._thread.shutdown()

    def _do(self, work: Callable[[Cancellation], None], cancellation: Cancellation) -> None:
        try:
            cancellation.check()
            work(cancellation)
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must know
            self._fail(error)
