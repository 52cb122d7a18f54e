"""A ledger that waits: while its store is away the aggregator holds what it has and takes no more.

The thread that decides stands still, the broker's own thread keeps the connection alive, and its prefetch limit is the
back-pressure: nothing is acknowledged, nothing is requeued, nothing is lost. A store that was away may come back with
another ledger, restored from a backup, so it is examined before anything more is asked of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from fedkseed.errors import LedgerUnreachable
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.ledger.reports import RoundReport
from fedkseed.ledger.store import Change, LastSeen, LedgerStore

T = TypeVar("T")
FIRST_SECONDS, LONGEST_SECONDS = 0.1, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """The store does not answer; it is asked again."""

    reason: str
    again_seconds: float


class PatientLedger:
    """A store whose calls are repeated until the store answers or the process is asked to stop.

    Args:
        store: the ledger.
        stopping: set when nobody waits any more; the unreachable store is then an error like any other.
        observe: told whenever it does not answer.
        examine: given the store when it may have come back; what it raises ends the call.
    """

    def __init__(
        self,
        store: LedgerStore,
        stopping: Event,
        observe: Callable[[Unanswered], None] = lambda _: None,
        examine: Callable[[LedgerStore], None] = lambda _: None,
    ) -> None:
        self._store, self._stopping, self._observe, self._examine = store, stopping, observe, examine
        self._away = False

    def head(self) -> Head:
        """See LedgerStore."""
        return self._try(self._store.head)

    def now(self) -> float:
        """See LedgerStore."""
        return self._try(self._store.now)

    def transact(self, change: Change) -> Folded:
        """See LedgerStore; the very same change is tried again, so that it counts once."""
        return self._try(lambda: self._store.transact(change))

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """See LedgerStore."""
        return iter(self._try(lambda: tuple(self._store.commits(after))))

    def clients(self) -> Mapping[str, LastSeen]:
        """See LedgerStore."""
        return self._try(self._store.clients)

    def reports(self) -> Mapping[int, RoundReport]:
        """See LedgerStore."""
        return self._try(self._store.reports)

    def _try(self, ask: Callable[[], T]) -> T:
        seconds = FIRST_SECONDS
        while True:
            try:
                if self._away:
                    self._examine(self._store)
                    self._away = False
                return ask()
            except LedgerUnreachable as error:
                self._away = True
                self._observe(Unanswered(reason=str(error), again_seconds=seconds))
                if self._stopping.wait(seconds):
                    raise
                seconds = min(2 * seconds, LONGEST_SECONDS)
