"""Subcommand that says how a federation is doing."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import islice
from typing import Any

import click

from fedkseed.genesis import genesis_digest
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head
from fedkseed.ledger.redis import RedisLedger
from fedkseed.ledger.store import LastSeen
from fedkseed_cli.access import on_ledger
from fedkseed_cli.history import in_words, line, record

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
    while True:
        shown = _shown(store, as_json)
        if watch:
            click.clear()
        click.echo(shown)
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def _shown(store: RedisLedger, as_json: bool) -> str:
    head, seen, now = store.head(), store.clients(), store.now()
    commits = tuple(store.commits(after=max(0, head.version - RECENT)))
    if as_json:
        return json.dumps(state(head, commits, seen, now), indent=1)
    return "\n".join(page(head, commits, seen, now))


def state(head: Head, commits: Sequence[Commit], seen: Mapping[str, LastSeen], now: float) -> dict[str, Any]:
    """All of it, as JSON holds it."""
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
        "commits": [record(commit, head.evaluations.get(commit.version, {})) for commit in commits],
        "evaluations": {version: dict(scores) for version, scores in sorted(head.evaluations.items())},
        "clients": {client: asdict(last) | {"seconds_ago": now - last.at} for client, last in _newest(seen)},
    }


def page(head: Head, commits: Sequence[Commit], seen: Mapping[str, LastSeen], now: float) -> Iterator[str]:
    """The same as lines of text."""
    yield f"federation    {head.genesis.federation}: {head.state}, version {head.version}, attempt {head.round.attempt}"
    yield f"state digest  {head.digest.hex()}"
    if head.state != "closed":
        rounds = head.policy.rounds
        yield f"open round    {len(head.pending.members)} of {rounds.cohort} updates, at least {rounds.minimum} when time is up"
    if head.state == "open":
        yield f"deadline      {_deadline(head.round.deadline - now)}"
    if head.announced != (head.version, head.round.attempt):
        yield "announced     not yet; an aggregator that runs does so within seconds"
    for commit in commits:
        yield f"commit        {line(commit, {})}"
    for version, scores in islice(sorted(head.evaluations.items(), reverse=True), RECENT):
        yield f"evaluation    version {version}  {in_words(scores)}"
    for client, last in islice(_newest(seen), CLIENTS):
        yield f"client        {client}  {last.outcome} on version {last.base}, {_span(now - last.at)} ago"
    if len(seen) > CLIENTS:
        yield f"client        and {len(seen) - CLIENTS} more"


def _deadline(seconds: float) -> str:
    return f"in {_span(seconds)}" if seconds >= 0 else f"{_span(-seconds)} ago; an aggregator that runs closes the round"


def _span(seconds: float) -> str:
    """Hours, minutes and seconds, and days before them."""
    return str(timedelta(seconds=round(seconds)))


def _newest(seen: Mapping[str, LastSeen]) -> Sequence[tuple[str, LastSeen]]:
    return sorted(seen.items(), key=lambda entry: entry[1].at, reverse=True)
