"""Training in the background, within the hours that the machine's owner gives."""

import datetime as dt
from collections.abc import Callable

from fedkseed.background import Background, Cancellation
from fedkseed_client.events import Declined, Trained
from fedkseed_client.machine import Assignment

RETRY_SECONDS = 60.0  # how often a closed window is looked at again


class Worker:
    """A `Trainer` in the background.

    Args:
        measure: trains an assignment; calls the function it is given before every loss, which ends it once it is abandoned.
        report: has an event fed; called from the thread that trains.
        fail: told what went wrong in a training; called from that thread.
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
        self._measure, self._report, self._hours = measure, report, hours
        self._background = Background("training", fail)

    def begin(self, assignment: Assignment) -> None:
        """See Trainer."""

        def train(cancellation: Cancellation) -> None:
            while not within(self._hours, dt.datetime.now().astimezone().hour):
                cancellation.wait(RETRY_SECONDS)
            self._report(self._measure(assignment, cancellation.check))

        self._background.begin(train)

    def abandon(self) -> None:
        """See Trainer."""
        self._background.abandon()

    def end(self) -> None:
        """Train no more; waits until what is being trained has given up."""
        self._background.end()


def within(hours: tuple[int, int] | None, hour: int) -> bool:
    """Whether an hour lies in a window (first, end), which may pass midnight; without a window every hour does."""
    if hours is None:
        return True
    first, end = hours
    return first <= hour < end if first < end else hour >= first or hour < end
