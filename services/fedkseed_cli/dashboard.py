"""How a federation looks in a terminal, from what its ledger says; nothing else is asked. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite, nan

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedkseed.ledger.reports import Report, RoundReport
from fedkseed_cli.view import View, active, in_words, newest, slow, span

ROUNDS = 10  # newest versions that have a line
CLIENTS = 12  # clients that have one, those heard of last
BARS = "▁▂▃▄▅▆▇█"
CURVE = 60  # newest versions in a curve
REFUSED = "red"
OUTCOMES = {"folded": "green", "discounted": "yellow"}


def dashboard(view: View) -> RenderableType:
    """All of it, to be drawn."""
    left = Panel(_rounds(view), title="versions", title_align="left", border_style="dim")
    right = Panel(_clients(view), title="clients", title_align="left", border_style="dim")
    return Group(_standing(view), Columns([left, right]), _curves(view))


def _standing(view: View) -> RenderableType:
    """Where the federation is, and how far its open round."""
    head, rounds = view.head, view.head.policy.rounds
    total = f" of {rounds.total}" if rounds.total else ""
    title = Text.assemble(
        (head.genesis.federation, "bold"), f"  {head.state}, version {head.version}{total}, state {head.digest.hex():.16}"
    )
    if head.state == "closed":
        return title
    members = len(head.pending.members)
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=rounds.cohort, completed=min(members, rounds.cohort), width=30)
    grid.add_row(
        f"round {head.version}, attempt {head.round.attempt}", bar, f"{members} of {rounds.cohort} updates", _time(view)
    )
    return Group(title, grid)


def _time(view: View) -> str:
    if view.head.state == "paused":
        return "paused: it does not close"
    left = view.head.round.deadline - view.now
    return f"{span(left)} left" if left >= 0 else f"its time was up {span(-left)} ago: no aggregator closes it"


def _rounds(view: View) -> RenderableType:
    """The newest versions, the newest first."""
    columns = "version", "took", "updates", "staleness", "loss", "update", "announced", "scores"
    table = Table(*columns, box=None, padding=(0, 1))
    closed = {commit.version: commit.closed_at for commit in view.commits}
    for commit in islice(reversed(view.commits), ROUNDS):
        took = span(commit.closed_at - closed[commit.version - 1]) if commit.version - 1 in closed else ""
        kind = "" if commit.kind == "round" else f" {commit.kind}"
        table.add_row(
            f"{commit.version}{kind}",
            took,
            str(len(commit.members)),
            tally(Counter(member.staleness for member in commit.members)),
            *_told(view.reports.get(commit.version - 1, RoundReport())),
            _bytes(len(commit.round)),
            in_words(view.head.evaluations.get(commit.version, {})),
        )
    return table


def _told(report: RoundReport) -> tuple[str, str]:
    """The loss that clients had in training, and the bytes of an update; means, as far as they are known."""
    loss, size = report.mean_loss, report.mean_size
    return "" if loss is None else f"{loss:.4f}", _bytes(size) if size else ""


def _bytes(size: float) -> str:
    return f"{size:,.0f} B"


def _clients(view: View) -> RenderableType:
    """Who was heard of last, what they said, and what became of it; dim, who is not active any more."""
    table = Table("client", "base", "outcome", "loss", "bytes", "seconds", "heard of", box=None, padding=(0, 1))
    heard, late = active(view), slow(view)
    for client, last in islice(newest(view.seen), CLIENTS):
        outcome = Text(last.outcome, style=OUTCOMES.get(last.outcome, REFUSED))
        said = _said(last.report, "yellow" if client in late else "")
        style = "" if client in heard else "dim"
        table.add_row(client, str(last.base), outcome, *said, f"{span(view.now - last.at)} ago", style=style)
    return Group(table, Text(_everybody(view), style="dim"))


def _said(report: Report | None, style: str) -> tuple[RenderableType, ...]:
    if report is None:
        return "", "", ""
    return f"{report.loss:.4f}", f"{report.size:,}", Text(f"{report.seconds:.1f}{' slow' if style else ''}", style=style)


def _everybody(view: View) -> str:
    """How many clients are known and active, how many of them have no line, and what became of their updates."""
    rest = f", {len(view.seen) - CLIENTS} not shown" if len(view.seen) > CLIENTS else ""
    outcomes = tally(Counter(last.outcome for last in view.seen.values()))
    return f"{len(active(view))} of {len(view.seen)} active{rest}: {outcomes}" if view.seen else "nobody yet"


def _curves(view: View) -> RenderableType:
    """The loss in training and the scores on held-out examples, one under the other: a column for each version."""
    lines = {name: line for name, line in _lines(view) if line}
    known = {version for line in lines.values() for version in line}
    shown = range(max(min(known), max(known) - CURVE + 1), max(known) + 1) if known else range(0)
    grid = Table.grid(padding=(0, 1))
    for name, line in lines.items():
        values = [line.get(version) for version in shown]
        if seen := [value for value in values if value is not None]:
            grid.add_row(Text(name, "bold"), f"{seen[0]:.4f}", Text(curve(values), "cyan"), f"{seen[-1]:.4f}")
    return grid


def _lines(view: View) -> Iterator[tuple[str, dict[int, float]]]:
    """Finite values by version: the loss of the round that trained on it, and its scores."""
    losses = {version: report.mean_loss for version, report in view.reports.items()}
    yield "training loss", {version: loss for version, loss in losses.items() if loss is not None}
    scored = view.head.evaluations
    for metric in sorted({metric for scores in scored.values() for metric in scores}):
        values = {version: scores.get(metric, nan) for version, scores in scored.items()}
        yield f"held-out {metric}", {version: value for version, value in values.items() if isfinite(value)}


def curve(values: Sequence[float | None]) -> str:
    """Values as bars of eight heights, from the lowest to the highest; blank where there is none."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    steps = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if value is None else BARS[round((value - low) * steps)] for value in values)


def tally(counts: Mapping[object, int]) -> str:
    """How often each of some things occurs, the most frequent first: 0 x3, 2."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
    return ", ".join(f"{thing} x{count}" if count > 1 else f"{thing}" for thing, count in ordered)
