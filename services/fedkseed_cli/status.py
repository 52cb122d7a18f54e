"""Subcommand that says how a federation is doing: as text, as JSON, or drawn again and again."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from math import isfinite
from typing import Any

import click
from rich.live import Live

from fedkseed.genesis import genesis_digest
from fedkseed.ledger.redis import RedisLedger
from fedkseed.ledger.reports import Report, RoundReport
from fedkseed.ledger.store import LastSeen
from fedkseed_cli.dashboard import ROUNDS, dashboard
from fedkseed_cli.history import line, record
from fedkseed_cli.target import on_ledger
from fedkseed_cli.view import View, in_words, look, newest, span

RECENT = 5  # versions and evaluations that are shown
WATCH_SECONDS = 2.0
CLIENTS = 20  # clients that are shown, those heard of last


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, with every client.")
@click.option("--watch", is_flag=True, help="Again every two seconds, until you press Ctrl-C.")
@on_ledger
def status(store: RedisLedger, as_json: bool, watch: bool) -> None:
    """Say how the federation is doing.

    Its version and open round, the last versions and evaluations, and the clients that were last heard of.
    """
    if watch and sys.stdout.isatty() and not as_json:
        draw(store)
    while True:
        view = look(store, RECENT)
        click.echo(json.dumps(state(view), indent=None if watch else 1) if as_json else "\n".join(page(view)))
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def draw(store: RedisLedger) -> None:
    """Draw it in a terminal, until interrupted."""
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(dashboard(look(store, ROUNDS)), refresh=True)
            time.sleep(WATCH_SECONDS)


def state(view: View) -> dict[str, Any]:
    """All of it, as JSON holds it."""
    head, now = view.head, view.now
    return {
        "federation": head.genesis.federation,
        "genesis_digest": genesis_digest(head.genesis_bytes).hex(),
        "state": head.state,
        "version": head.version,
        "attempt": head.round.attempt,
        "state_digest": head.digest.hex(),
        "announced": head.announced == (head.version, head.round.attempt),
        "pending": [member.client for member in head.pending.members],
        "cohort": head.policy.rounds.cohort,
        "minimum": head.policy.rounds.minimum,
        "deadline_in_seconds": head.round.deadline - now if head.state == "open" else None,
        "commits": [record(commit, head.evaluations.get(commit.version, {})) for commit in view.commits],
        "reports": {version: _sums(report) for version, report in view.reports.items()},
        "evaluations": {version: dict(scores) for version, scores in sorted(head.evaluations.items())},
        "clients": {client: _client(last, now) for client, last in newest(view.seen)},
    }


def _sums(report: RoundReport) -> dict[str, float | None]:
    return {"updates": report.updates, "bytes": report.size, "loss": report.mean_loss}


def _client(last: LastSeen, now: float) -> dict[str, Any]:
    return asdict(last) | {"report": _said(last.report), "seconds_ago": now - last.at}


def _said(report: Report | None) -> dict[str, float | None] | None:
    """What an update said; null what is not finite, which JSON does not know."""
    if report is None:
        return None
    told = {"loss": report.loss, "seconds": report.seconds, "bytes": report.size}
    return {name: value if isfinite(value) else None for name, value in told.items()}


def page(view: View) -> Iterator[str]:
    """The same as lines of text."""
    head = view.head
    yield f"federation    {head.genesis.federation}: {head.state}, version {head.version}, attempt {head.round.attempt}"
    yield f"state digest  {head.digest.hex()}"
    if head.state != "closed":
        rounds = head.policy.rounds
        yield f"open round    {len(head.pending.members)} of {rounds.cohort} updates, at least {rounds.minimum} when time is up"
    if head.state == "open":
        yield f"deadline      {_deadline(head.round.deadline - view.now)}"
    if head.announced != (head.version, head.round.attempt):
        yield "announced     not yet; an aggregator that runs does so within seconds"
    for commit in view.commits:
        yield f"commit        {line(commit, {})}{_told(view.reports.get(commit.version - 1))}"
    for version, scores in islice(sorted(head.evaluations.items(), reverse=True), RECENT):
        yield f"evaluation    version {version}  {in_words(scores)}"
    for client, last in islice(newest(view.seen), CLIENTS):
        said = f", loss {last.report.loss:.4f}, {last.report.seconds:.1f} s, {last.report.size:,} bytes" if last.report else ""
        yield f"client        {client}  {last.outcome} on version {last.base}, {span(view.now - last.at)} ago{said}"
    if len(view.seen) > CLIENTS:
        yield f"client        and {len(view.seen) - CLIENTS} more"


def _told(report: RoundReport | None) -> str:
    if report is None:
        return ""
    loss = "" if report.mean_loss is None else f"training loss {report.mean_loss:.4f}, "
    return f"  {loss}{report.size:,} bytes"


def _deadline(seconds: float) -> str:
    return f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago; an aggregator that runs closes the round"
