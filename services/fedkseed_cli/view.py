"""What is read of a ledger to be shown, and how its parts are said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isnan
from statistics import median

from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head
from fedkseed.ledger.reports import RoundReport
from fedkseed.ledger.store import LastSeen, LedgerStore

SLOW = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What was read of a ledger at one time."""

    head: Head
    commits: Sequence[Commit]  # the newest, ascending
    seen: Mapping[str, LastSeen]
    reports: Mapping[int, RoundReport]  # of the newest rounds, by version of the round
    now: float  # unix seconds of the ledger's store


def look(store: LedgerStore, recent: int) -> View:
    """Read what is shown, with so many of the newest commits.

    Raises:
        LedgerError: as for the store.
    """
    head = store.head()
    commits = tuple(store.commits(after=max(0, head.version - recent)))
    return View(head=head, commits=commits, seen=store.clients(), reports=store.reports(), now=store.now())


def active(view: View) -> frozenset[str]:
    """Clients whose last update was on a version that still counts, or on the one before it."""
    oldest = view.head.version - view.head.policy.rounds.max_staleness - 1
    return frozenset(client for client, last in view.seen.items() if last.base >= oldest)


def slow(view: View) -> frozenset[str]:
    """Clients whose last training took more than SLOW times as long as that of the one in the middle."""
    told = {client: last.report.seconds for client, last in view.seen.items() if last.report}
    seconds = {client: took for client, took in told.items() if not isnan(took)}
    return frozenset(client for client, took in seconds.items() if took > SLOW * median(seconds.values()))


def in_words(scores: Mapping[str, float]) -> str:
    """Scores in one line."""
    return ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())


def span(seconds: float) -> str:
    """Hours, minutes and seconds, and days before them."""
    return str(timedelta(seconds=round(seconds)))


def newest(seen: Mapping[str, LastSeen]) -> Sequence[tuple[str, LastSeen]]:
    """Clients, the one that was heard of last first."""
    return sorted(seen.items(), key=lambda entry: entry[1].at, reverse=True)
