"""Subcommand that says why something does not work, or whether it would."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import click

from fedkseed import settings
from fedkseed.errors import Unwell
from fedkseed.settings import DoctorSettings
from fedkseed_cli import checks, findings
from fedkseed_cli.findings import Finding


@click.command()
@click.option("--data", "source", type=click.Path(path_type=Path), help="A client's JSON Lines file or datasets directory.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def doctor(source: Path | None, as_json: bool) -> None:
    """Look for what is wrong, here and with the servers, and say what to do about it. Changes nothing.

    Reads the same variables as the services, and checks what they name: program, broker, archive, Redis, clock, ledger,
    state directory, base model, data. One line each.
    """
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # that it was refused is what the findings are made of
    found = []
    for finding in examine(settings.read(DoctorSettings, os.environ), source):
        found.append(finding)
        if not as_json:
            click.echo(finding)
    if as_json:
        click.echo(json.dumps(findings.record(found), indent=1))
    if ill := findings.wrong(found):
        raise Unwell(f"{len(ill)} of {len(found)} checks found something wrong: {', '.join(one.what for one in ill)}")


def examine(chosen: DoctorSettings, source: Path | None) -> Iterator[Finding]:
    """Make every check, in the order in which one thing needs another."""
    yield checks.program()
    yield from (seen := list(checks.broker(chosen)))
    if not findings.wrong(seen):
        yield from checks.archive(chosen)
    found, genesis = checks.redis(chosen)
    yield from found
    if genesis and not findings.wrong(seen):
        yield from checks.witness(chosen)
    place, kept = checks.state(chosen)
    yield place
    yield from checks.agreement(genesis, kept)
    yield checks.base(chosen, genesis or kept)
    yield checks.examples(source, genesis or kept)
