"""The port to where a ledger is kept: read the head, change it atomically, read the log.

- A change is a pure function of (head, time of the store), so that a store may call it again when it lost a race.
- A store appends the commits of a change in the same transaction, and refuses one whose version is not the next.
- Whatever happens to the connection, a change is kept at most once.
- A store also remembers what it last heard of each client, and what the updates of each round said. That is for operators:
  nothing is decided by it, and of too many only the newest MAX_CLIENTS and REPORTED are kept.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

from fedkseed.errors import LedgerError
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.ledger.reports import REPORTED, Report, RoundReport
from fedkseed.messages import Outcome

MAX_CLIENTS = 16384

Change = Callable[[Head, float], tuple[Head, Folded]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSeen:
    """The last update that came from a client."""

    at: float  # unix seconds
    base: int
    outcome: Outcome
    report: Report | None = None  # what it said, where that was told


class LedgerStore(Protocol):
    """Keeps one ledger."""

    def head(self) -> Head:
        """The newest head.

        Raises:
            LedgerUnreachable: the store does not answer; try again.
            LedgerError: what is stored cannot be used; another try would not help.
        """
        ...

    def now(self) -> float:
        """The time of the store in unix seconds, by which rounds open and close.

        Raises:
            LedgerUnreachable: the store does not answer; try again.
        """
        ...

    def transact(self, change: Change) -> Folded:
        """Apply a change to the newest head: all of it, or nothing when it raises.

        Args:
            change: called with the head and the store's time in unix seconds; possibly more than once.

        Returns:
            What the change that was kept produced.

        Raises:
            LedgerUnreachable: the store does not answer, and whether the change was kept is not known. A call with the very
                same function finds out: what was kept before is returned and not applied again.
            LedgerError: the commits do not continue the log, or what is stored cannot be used.
        """
        ...

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """The log in order, from version `after` + 1 on.

        Raises:
            LedgerUnreachable: while it is read; go on after the last version that came.
        """
        ...

    def clients(self) -> Mapping[str, LastSeen]:
        """What was last heard of each client, by name.

        Raises:
            LedgerUnreachable: the store does not answer; try again.
        """
        ...

    def reports(self) -> Mapping[int, RoundReport]:
        """What the updates said that the newest rounds have folded, by the version of the round.

        Raises:
            LedgerUnreachable: the store does not answer; try again.
        """
        ...


def check(before: Head, after: Head, folded: Folded) -> None:
    """Refuse what no change may do to a ledger.

    Raises:
        LedgerError: the commits do not lead from one head to the other, or the revision does not tell them apart.
    """
    versions = [commit.version for commit in folded.commits]
    if versions != list(range(before.version + 1, after.version + 1)):
        raise LedgerError(f"commits {versions} do not lead from version {before.version} to {after.version}")
    if after is not before and after.revision <= before.revision:
        raise LedgerError(f"a change of revision {before.revision} has revision {after.revision}")


def sightings(folded: Folded, now: float) -> dict[str, LastSeen]:
    """What a change says about the clients that sent updates, by name."""
    return {
        receipt.client: LastSeen(at=now, base=receipt.base, outcome=receipt.outcome, report=report)
        for receipt, report in zip_longest(folded.receipts, folded.reports)
    }


def reported(before: Head, folded: Folded) -> dict[int, RoundReport]:
    """What a change adds to the reports of rounds, by version; updates that were folded before are left out."""
    told: dict[int, list[Report]] = {}
    counted: set[tuple[str, int]] = set()
    for receipt, report in zip(folded.receipts, folded.reports, strict=False):  # there may be no reports
        update = (receipt.client, receipt.base)
        if receipt.weight and update not in counted and receipt.client not in before.inbox.get(receipt.base, {}):
            counted.add(update)
            told.setdefault(receipt.version, []).append(report)
    return {version: RoundReport.of(reports) for version, reports in told.items()}


def outdated(folded: Folded) -> tuple[int, ...]:
    """Name the rounds whose reports a change drops: one for each version that it makes."""
    return tuple(commit.version - 1 - REPORTED for commit in folded.commits if commit.version > REPORTED)


def forgettable(heard: Mapping[str, float]) -> list[str]:
    """Name the clients that were not heard of for longest, beyond the newest MAX_CLIENTS.

    Args:
        heard: when each was heard of last.
    """
    return sorted(heard, key=heard.__getitem__)[: max(0, len(heard) - MAX_CLIENTS)]
