"""A ledger in this process: the store of simulations and of federations that live in one place."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.ledger.reports import RoundReport
from fedkseed.ledger.store import MAX_CLIENTS, Change, LastSeen, check, outdated, reported, sightings


class MemoryLedger:
    """Keeps the head and a list of commits; time comes from the clock it is given (unix seconds)."""

    def __init__(self, head: Head, clock: Callable[[], float]) -> None:
        self._head = head
        self._clock = clock
        self._first = head.version + 1  # of the log
        self._log: list[Commit] = []
        self._clients: OrderedDict[str, LastSeen] = OrderedDict()  # who was heard of last is the last
        self._reports: dict[int, RoundReport] = {}
        self._lock = threading.Lock()

    def head(self) -> Head:
        """See LedgerStore."""
        return self._head

    def now(self) -> float:
        """See LedgerStore."""
        return self._clock()

    def transact(self, change: Change) -> Folded:
        """See LedgerStore."""
        with self._lock:
            now = self._clock()
            head, folded = change(self._head, now)
            check(self._head, head, folded)
            self._note(folded, now)
            self._log.extend(folded.commits)
            self._head = head
        return folded

    def _note(self, folded: Folded, now: float) -> None:
        for client, seen in sightings(folded, now).items():
            self._clients[client] = seen
            self._clients.move_to_end(client)
        while len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        for version, added in reported(self._head, folded).items():
            self._reports[version] = self._reports.get(version, RoundReport()) + added
        for version in outdated(folded):
            self._reports.pop(version, None)

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """See LedgerStore."""
        return iter(self._log[max(0, after + 1 - self._first) :])

    def clients(self) -> Mapping[str, LastSeen]:
        """See LedgerStore."""
        with self._lock:
            return dict(self._clients)

    def reports(self) -> Mapping[int, RoundReport]:
        """See LedgerStore."""
        with self._lock:
            return dict(self._reports)
