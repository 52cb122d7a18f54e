"""Training beside the loop: a thread of its own, so that heartbeats go on for the hours that a round may take."""

import datetime as dt
import threading
from collections.abc import Callable

from fedkseed_client.events import Declined, Trained
from fedkseed_client.machine import Assignment

RETRY_SECONDS = 60.0  # how often a closed window is looked at again


class Abandoned(Exception):
    """Raised inside a training that was abandoned, by the next loss it computes."""


class Worker:
    """A `Trainer` with one thread.

    Args:
        measure: trains an assignment; calls the function it is given before every loss, which ends it by `Abandoned`.
        report: has an event fed; called from the worker's thread.
        fail: told what went wrong in a training; called from the worker's thread.
        hours: local hours (first, end) in which training may begin; None: always.
    """

    def __init__(
        self,
        *,
        measure: Callable[[Assignment, Callable[[], None]], Trained],
        report: Callable[[Trained | Declined], None],
        fail: Callable[[BaseException], None],
        hours: tuple[int, int] | None = None,
    ) -> None:
        self._measure, self._report, self._fail, self._hours = measure, report, fail, hours
        self._wanted = threading.Lock()  # one training at a time: an abandoned one ends first
        self._leave = threading.Event()

    def begin(self, assignment: Assignment) -> None:
        """See Trainer."""
        self._leave = threading.Event()
        threading.Thread(target=self._work, args=(assignment, self._leave), name="training", daemon=True).start()

    def abandon(self) -> None:
        """See Trainer."""
        self._leave.set()

    def _work(self, assignment: Assignment, leave: threading.Event) -> None:
        def check() -> None:
            if leave.is_set():
                raise Abandoned

        with self._wanted:
            try:
                while not within(self._hours, dt.datetime.now().astimezone().hour):
                    check()
                    leave.wait(RETRY_SECONDS)
                self._report(self._measure(assignment, check))
            except Abandoned:
                return
            except BaseException as error:  # noqa: BLE001 - whatever it is, the process must know
                self._fail(error)


def within(hours: tuple[int, int] | None, hour: int) -> bool:
    """Whether an hour lies in a window (first, end), which may pass midnight; without a window every hour does."""
    if hours is None:
        return True
    first, end = hours
    return first <= hour < end if first < end else hour >= first or hour < end
