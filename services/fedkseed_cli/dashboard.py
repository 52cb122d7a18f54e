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

from fedkseed_cli.view import View, in_words, newest, span

ROUNDS = 10  # newest versions that have a line
CLIENTS = 12  # clients that have one, those heard of last
BARS = "▁▂▃▄▅▆▇█"
CURVE = 60  # scores in a curve
REFUSED = "red"
OUTCOMES = {"folded": "green", "discounted": "yellow"}


def dashboard(view: View) -> RenderableType:
    """All of it, to be drawn."""
    left = Panel(_rounds(view), title="versions", title_align="left", border_style="dim")
    right = Panel(_clients(view), title="clients", title_align="left", border_style="dim")
    return Group(_standing(view), Columns([left, right]), *_curves(view))


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
    table = Table("version", "took", "updates", "staleness", "announced", "scores", box=None, padding=(0, 1))
    closed = {commit.version: commit.closed_at for commit in view.commits}
    for commit in islice(reversed(view.commits), ROUNDS):
        took = span(commit.closed_at - closed[commit.version - 1]) if commit.version - 1 in closed else ""
        kind = "" if commit.kind == "round" else f" {commit.kind}"
        table.add_row(
            f"{commit.version}{kind}",
            took,
            str(len(commit.members)),
            tally(Counter(member.staleness for member in commit.members)),
            f"{len(commit.round):,} B",
            in_words(view.head.evaluations.get(commit.version, {})),
        )
    return table


def _clients(view: View) -> RenderableType:
    """Who was heard of last, and what became of it."""
    table = Table("client", "base", "outcome", "heard of", box=None, padding=(0, 1))
    for client, last in islice(newest(view.seen), CLIENTS):
        outcome = Text(last.outcome, style=OUTCOMES.get(last.outcome, REFUSED))
        table.add_row(client, str(last.base), outcome, f"{span(view.now - last.at)} ago")
    rest = len(view.seen) - CLIENTS
    outcomes = tally(Counter(last.outcome for last in view.seen.values()))
    return Group(table, Text(f"and {rest} more: {outcomes}" if rest > 0 else outcomes, style="dim"))


def _curves(view: View) -> Iterator[RenderableType]:
    """Each score by version."""
    scored = sorted(view.head.evaluations.items())
    for metric in sorted({metric for _, scores in scored for metric in scores}):
        values = [scores[metric] for _, scores in scored if isfinite(scores.get(metric, nan))][-CURVE:]
        if values:
            yield Text.assemble((f"{metric} ", "bold"), f"{values[0]:.4f} ", (curve(values), "cyan"), f" {values[-1]:.4f}")


def curve(values: Sequence[float]) -> str:
    """Values as bars of eight heights, from the lowest to the highest."""
    low, high = min(values), max(values)
    steps = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * steps)] for value in values)


def tally(counts: Mapping[object, int]) -> str:
    """How often each of some things occurs, the most frequent first: 0 x3, 2."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
    return ", ".join(f"{thing} x{count}" if count > 1 else f"{thing}" for thing, count in ordered)
