"""The tags of deliveries: a broker numbers them from 1 on each channel, ours go on over all channels of a connection's life.

What was delivered on an earlier channel is delivered again: acknowledging the old tag does nothing. As few acknowledgements as
possible are sent: one for all that follows without a gap, single ones beyond a gap.
"""

from collections.abc import Iterable


class Tags:
    """The books of the deliveries of one connection, channel after channel."""

    def __init__(self) -> None:
        self._before = 0  # tags of earlier channels
        self._delivered = 0  # numbers of this channel
        self._settled = 0  # every number up to this one is acknowledged
        self._beyond: set[int] = set()  # numbers after a gap that are acknowledged

    def renew(self) -> None:
        """The channel is another one."""
        self._before += self._delivered
        self._delivered = self._settled = 0
        self._beyond.clear()

    def deliver(self, number: int) -> int:
        """The tag of a delivery with a number of this channel."""
        self._delivered = number
        return self._before + number

    def acknowledge(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """The numbers to acknowledge for these tags; True: and everything before it."""
        numbers = sorted({tag - self._before for tag in tags} - self._beyond)
        numbers = [number for number in numbers if self._settled < number <= self._delivered]
        self._beyond.update(numbers)
        while self._settled + 1 in self._beyond:
            self._settled += 1
            self._beyond.remove(self._settled)
        run = [number for number in numbers if number <= self._settled]
        return [(number, True) for number in run[-1:]] + [(number, False) for number in numbers[len(run) :]]
