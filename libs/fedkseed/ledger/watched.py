"""A ledger that somebody watches: every head that is read and every change that is made is told, with what it took."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.ledger.reports import RoundReport
from fedkseed.ledger.store import Change, LastSeen, LedgerStore


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looked:
    """The newest head was read."""

    head: Head


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transacted:
    """A change was made; one that changes nothing leaves the very head that was there."""

    before: Head
    after: Head
    folded: Folded
    now: float  # unix seconds, by the clock of the store
    seconds: float  # that it took, all attempts together
    attempts: int


Sight = Looked | Transacted


class WatchedLedger:
    """A `LedgerStore`.

    Args:
        store: the ledger itself.
        observe: told what becomes of it, on the thread that asked.
    """

    def __init__(self, store: LedgerStore, observe: Callable[[Sight], None]) -> None:
        self._store, self._observe = store, observe

    def head(self) -> Head:
        """See LedgerStore."""
        head = self._store.head()
        self._observe(Looked(head=head))
        return head

    def now(self) -> float:
        """See LedgerStore."""
        return self._store.now()

    def transact(self, change: Change) -> Folded:
        """See LedgerStore."""
        attempts: list[tuple[Head, Head, Folded, float]] = []

        def noted(head: Head, now: float) -> tuple[Head, Folded]:
            after, folded = change(head, now)
            attempts.append((head, after, folded, now))
            return after, folded

        started = time.monotonic()
        kept = self._store.transact(noted)
        seconds = time.monotonic() - started
        before, after, folded, now = next(attempt for attempt in reversed(attempts) if attempt[2] is kept)
        seen = Transacted(before=before, after=after, folded=folded, now=now, seconds=seconds, attempts=len(attempts))
        self._observe(seen)
        return kept

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """See LedgerStore."""
        return self._store.commits(after)

    def clients(self) -> Mapping[str, LastSeen]:
        """See LedgerStore."""
        return self._store.clients()

    def reports(self) -> Mapping[int, RoundReport]:
        """See LedgerStore."""
        return self._store.reports()
