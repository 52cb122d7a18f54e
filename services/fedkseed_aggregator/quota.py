"""How much one participant may send: what is more is dropped at the door, before it is read.

RabbitMQ bounds its queues, not those who fill them. So that one who floods a queue does not keep others out of it, an
aggregator takes from each sender what an honest one might send, and throws the rest away faster than it can be published. Who
the sender is says the routing key, which permissions tie to a user. What is dropped gets no receipt.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from fedkseed.transport.broker import Delivery, Notice
from fedkseed.transport.topology import role
from fedkseed_aggregator import shell
from fedkseed_aggregator.events import Event, Excess

SENDERS = 1 << 16  # that are remembered
SPAN_SECONDS = 60.0


class Quota:
    """So many letters a minute from each sender; a whole minute's may come at once.

    What is remembered of a sender is when it will have nothing to its debit any more (the generic cell rate algorithm of
    ITU-T I.371). One who is forgotten begins anew.

    Args:
        limit: letters a minute.
    """

    def __init__(self, limit: int) -> None:
        self._cost = SPAN_SECONDS / limit
        self._even: dict[str, float] = {}  # by sender, in seconds of the caller's clock

    def __len__(self) -> int:
        return len(self._even)

    def admits(self, sender: str, now: float) -> bool:
        """Whether a sender may send another one, which then counts."""
        even = max(self._even.get(sender, now), now) + self._cost
        if even - now > SPAN_SECONDS * (1 + 1e-9):
            return False
        if len(self._even) >= SENDERS and sender not in self._even:
            self._forget(now)
        self._even[sender] = even
        return True

    def _forget(self, now: float) -> None:
        """Forget who is even, and then those who nearly are, so that this is seldom done."""
        owing = sorted(((who, even) for who, even in self._even.items() if even > now), key=itemgetter(1))
        self._even = dict(owing[-SENDERS // 2 :])


class Gate:
    """Reads what a broker said, like `shell.events`, and lets in no more than the quotas.

    Args:
        quotas: letters a minute from each sender, by the role of the queue they come from.
        clock: seconds that only grow.
        read: `shell.events`, or the same with who must sign.
    """

    def __init__(
        self,
        quotas: Mapping[str, int],
        clock: Callable[[], float],
        read: Callable[[Sequence[Notice]], tuple[Event, ...]] = shell.events,
    ) -> None:
        self._read = read
        self._quotas = {name: Quota(limit) for name, limit in quotas.items()}
        self._clock = clock

    def __call__(self, notices: Sequence[Notice]) -> tuple[Event, ...]:
        """Events, after one for all that is too much."""
        now = self._clock()
        kept: list[Notice] = []
        tags: list[int] = []
        dropped: Counter[tuple[str, str]] = Counter()
        for notice in notices:
            if not isinstance(notice, Delivery) or self._quotas[name := role(notice.queue)].admits(notice.key, now):
                kept.append(notice)
            else:
                tags.append(notice.tag)
                dropped[name, notice.key] += 1
        excess = (Excess(tags=tuple(tags), dropped=dropped),) if tags else ()
        return (*excess, *self._read(kept))
