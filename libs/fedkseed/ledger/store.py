"""The port to where a ledger is kept: read the head, change it atomically, read the log.

A change is a pure function of (head, time of the store), so that a store may call it again when it lost a race. A store
appends the commits of a change in the same transaction, and refuses one whose version is not the next.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head

Change = Callable[[Head, float], tuple[Head, Folded]]


class LedgerStore(Protocol):
    """Keeps one ledger."""

    def head(self) -> Head:
        """The newest head."""
        ...

    def transact(self, change: Change) -> Folded:
        """Apply a change to the newest head: all of it, or nothing when it raises.

        Args:
            change: called with the head and the store's time in unix seconds; possibly more than once.

        Returns:
            What the change that was kept produced.

        Raises:
            LedgerError: its commits do not continue the log.
        """
        ...

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """The log in order, from version `after` + 1 on."""
        ...
