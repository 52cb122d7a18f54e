"""A ledger in this process: the store of simulations and of federations that live in one place."""

import threading
from collections.abc import Callable, Iterator

from fedkseed.errors import LedgerError
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.ledger.store import Change


class MemoryLedger:
    """Keeps the head and a list of commits; time comes from the clock it is given (unix seconds)."""

    def __init__(self, head: Head, clock: Callable[[], float]) -> None:
        self._head = head
        self._clock = clock
        self._first = head.version + 1  # of the log
        self._log: list[Commit] = []
        self._lock = threading.Lock()

    def head(self) -> Head:
        """The newest head."""
        return self._head

    def transact(self, change: Change) -> Folded:
        """Apply a change to the newest head: all of it, or nothing when it raises.

        Raises:
            LedgerError: its commits do not continue the log.
        """
        with self._lock:
            head, folded = change(self._head, self._clock())
            versions = [commit.version for commit in folded.commits]
            if versions != list(range(self._head.version + 1, head.version + 1)):
                raise LedgerError(f"commits {versions} do not lead from version {self._head.version} to {head.version}")
            self._log.extend(folded.commits)
            self._head = head
        return folded

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """The log in order, from version `after` + 1 on."""
        return iter(self._log[max(0, after + 1 - self._first) :])
