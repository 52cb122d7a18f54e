"""Subcommands on the log of a ledger in Redis: show it, and write one of its versions to a file.

A version is added up from the log, and every digest on the way is verified.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from fedkseed.errors import UnknownVersion
from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Member
from fedkseed.ledger.log import replay
from fedkseed.ledger.log import verify as verify_log
from fedkseed.ledger.redis import RedisLedger
from fedkseed_cli.target import on_ledger
from fedkseed_cli.view import in_words

NAMED = 8  # members that a line names
RISING = ("accuracy", "rouge_l")  # the more the better; of other metrics, the less the better

VERSION = click.option("--version", type=click.IntRange(0), metavar="V", help="The version to write; the newest without it.")
BEST = click.option("--best", metavar="METRIC", help="The version with the best score instead: loss, accuracy or rouge_l.")

Scores = Mapping[str, float]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, with every member.")
@on_ledger
def log(store: RedisLedger, as_json: bool) -> None:
    """Show every version that was made, one line each.

    How it was made, when, with which learning rate, by whom, and how it scored.
    """
    scored = store.head().evaluations
    for commit in store.commits():
        scores = scored.get(commit.version, {})
        click.echo(json.dumps(record(commit, scores)) if as_json else line(commit, scores))


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The ledger.safetensors to write.")
@VERSION
@BEST
@on_ledger
def snapshot(store: RedisLedger, out: Path, version: int | None, best: str | None) -> None:
    """Write a version of the ledger in Redis to a file.

    The file is a ledger.safetensors, for `fedkseed show`, `verify` and `export`; one that is there is replaced.
    """
    written = chosen(store, version, best)
    artifact.write(out, written)
    click.echo(f"{out}: version {written.version}, state digest {written.state.hex()}")


def chosen(store: RedisLedger, version: int | None, best: str | None) -> Artifact:
    """The version that the options --version and --best name.

    Raises:
        UnknownVersion: there is no such version, or none has that score.
        LedgerError: the log does not verify.
    """
    if version is not None and best is not None:
        raise click.UsageError("--version and --best exclude each other")
    return at(store, version if best is None else _best(store.head().evaluations, best))


def at(store: RedisLedger, version: int | None = None) -> Artifact:
    """One version of a ledger, the newest by default; the log up to it is verified.

    Raises:
        UnknownVersion: there is no such version yet.
        LedgerError: the log does not verify.
    """
    head = store.head()
    asked = head.version if version is None else version
    if asked > head.version:
        raise UnknownVersion(f"version {asked} is not in a ledger at version {head.version}")
    verify_log(islice(store.commits(), asked), head.genesis_bytes, head.size)
    coefficients = replay(islice(store.commits(), asked), head.size)
    return Artifact(genesis_bytes=head.genesis_bytes, version=asked, coefficients=coefficients)


def record(commit: Commit, scores: Scores) -> dict[str, Any]:
    """An entry of the log as JSON holds it, without the difference itself."""
    return {
        "version": commit.version,
        "kind": commit.kind,
        "closed_at": commit.closed_at,
        "members": [{key: value for key, value in asdict(member).items() if value is not None} for member in commit.members],
        "weight": commit.weight,
        "lr": commit.lr,
        "bounds": commit.bounds and asdict(commit.bounds),
        "quarantined": list(commit.quarantined),
        "policy_digest": commit.policy_digest,
        "state_digest": commit.state.hex(),
        "scores": dict(scores),
    }


def line(commit: Commit, scores: Scores) -> str:
    """An entry of the log as people read it."""
    when = datetime.fromtimestamp(commit.closed_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    parts = (f"version {commit.version}", commit.kind, when, f"lr {commit.lr:g}", _who(commit.members), in_words(scores))
    return "  ".join(part for part in parts if part)


def _who(members: tuple[Member, ...]) -> str:
    named = [m.client + (f" (staleness {m.staleness})" if m.staleness else "") for m in members[:NAMED]]
    return ", ".join(named) + (f" and {len(members) - NAMED} more" if len(members) > NAMED else "")


def _best(evaluations: Mapping[int, Scores], metric: str) -> int:
    """The version with the best score, the earliest of equals."""
    scored = {version: scores[metric] for version, scores in sorted(evaluations.items()) if metric in scores}
    if not scored:
        raise UnknownVersion(f"no version has a score named {metric}")
    return (max if metric in RISING else min)(scored, key=scored.__getitem__)
