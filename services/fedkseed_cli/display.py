"""How a run looks in a terminal: live progress where there is one, plain lines elsewhere, and the final table."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedkseed.federation import Federation
from fedkseed_simulator.facts import Fact, RoundClosed, Scored, UpdateDecided
from fedkseed_simulator.report import PERCENT, Report, duration

ROWS = 12  # rounds kept on the screen
Line = tuple[str, ...]
COLUMNS = ("version", "virtual time", "train loss", "held-out", "staleness", "bytes")


class Display:
    """Follows a run.

    Args:
        federation: what is run.
        quiet: say nothing.
        clock: seconds, for the time left.
    """

    def __init__(self, federation: Federation, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._federation = federation
        self._console = Console(stderr=True, quiet=quiet)
        self._clock, self._started = clock, clock()
        self._lines: list[Line] = []
        self._scores: dict[int, str] = {}
        self._outcomes: Counter[str] = Counter()
        self._staleness: Counter[int] = Counter()
        self._left = ""
        name, left = TextColumn(f"[bold]{federation.name}"), TextColumn("{task.fields[left]}")
        self._progress = Progress(name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left)
        self._task = self._progress.add_task("rounds", total=federation.rounds.total, left="")
        self._live = Live(self._screen(), console=self._console, refresh_per_second=4) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, fact: Fact) -> None:
        """Take one fact."""
        match fact:
            case UpdateDecided(receipt=receipt):
                self._outcomes[receipt.outcome] += 1
                self._staleness[receipt.staleness] += 1
            case RoundClosed():
                self._close(fact)
            case Scored(version=version, metrics=metrics):
                self._scores[version] = scores(metrics)
                self._say(f"version {version}: held-out {self._scores[version]}")
        if self._live:
            self._live.update(self._screen())

    def _close(self, closed: RoundClosed) -> None:
        staleness = ", ".join(str(member.staleness) for member in closed.commit.members)
        line = (str(closed.version), duration(closed.closed_seconds), f"{closed.loss:.4f}", "", staleness, f"{closed.size:,}")
        self._lines = [*self._lines, line][-ROWS:]
        total = self._federation.rounds.total
        if total:
            left = (self._clock() - self._started) / closed.version * (total - closed.version)
            self._left = f"about {duration(left)} left" if left else ""
        self._progress.update(self._task, completed=closed.version, left=self._left)
        number = f"version {closed.version}" + (f" of {total}" if total else "")
        cost = f"{closed.size:,} bytes, virtual time {duration(closed.closed_seconds)}"
        self._say(f"{number}: training loss {closed.loss:.4f}, staleness {staleness or 'none'}, {cost}. {self._left}")

    def _say(self, line: str) -> None:
        if not self._live:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _screen(self) -> RenderableType:
        table = Table(*COLUMNS, box=None)
        for version, *rest in self._lines:
            table.add_row(version, *rest[:2], self._scores.get(int(version), ""), *rest[3:])
        outcomes = "  ".join(f"{outcome} {count}" for outcome, count in sorted(self._outcomes.items()))
        return Group(table, outcomes, self._progress)


def scores(metrics: object) -> str:
    """Scores in one line."""
    assert isinstance(metrics, dict)
    return ", ".join(f"{name} {shown(name, value)}" for name, value in metrics.items())


def shown(metric: str, value: float) -> str:
    """A score as people read it."""
    return f"{value:.1%}" if metric in PERCENT else f"{value:.4f}"


def results_table(report: Report, out: Path) -> None:
    """Print what a run came to."""
    table = Table(title=f"{report.name}: {report.ending}", show_header=False, title_justify="left")
    before, after = report.scores[0].metrics, report.scores[-1].metrics
    for metric in after:
        table.add_row(f"held-out {metric}", f"{shown(metric, before[metric])} -> {shown(metric, after[metric])}")
    table.add_row("bytes per client and round", f"{report.bytes_per_round:,.0f}")
    table.add_row("FedAvg would send", f"{report.fedavg_bytes_per_round:,}")
    for part in report.decided:
        table.add_row(f"updates {part.outcome}, staleness {part.staleness}", str(part.count))
    table.add_row("virtual time", duration(report.virtual_seconds))
    table.add_row("time taken", duration(report.wall_seconds))
    table.add_row("ledger.safetensors", f"{report.ledger_size:,} bytes")
    for name, value in report.facts:
        if name.endswith("digest"):
            table.add_row(name, value)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    Console(soft_wrap=True).print(f"{out}/: report.html, metrics.jsonl, ledger.safetensors", highlight=False)
