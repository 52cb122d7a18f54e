"""Subcommands on clients that robust folding has excluded."""

import json

import click

from fedkseed.ledger.operate import readmit
from fedkseed.ledger.redis import RedisLedger
from fedkseed.ledger.statistics import PAIR
from fedkseed_cli.target import on_ledger


@click.group()
def quarantine() -> None:
    """Show and lift quarantines: clients whose updates robust folding refuses."""


@quarantine.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@on_ledger
def list_(store: RedisLedger, as_json: bool) -> None:
    """Show who is quarantined since which version, and who is suspected, in pairs that disagree too much."""
    known = store.head().robust
    excluded = dict(sorted(known.quarantined.items())) if known else {}
    suspected = {client: value / PAIR for client, value in sorted(known.suspicion.items())} if known else {}
    if as_json:
        click.echo(json.dumps({"quarantined": excluded, "suspected": suspected}))
        return
    for client, version in excluded.items():
        click.echo(f"{client}  quarantined since version {version}")
    for client, pairs in suspected.items():
        click.echo(f"{client}  suspicion {pairs:g} pairs")


@quarantine.command()
@click.argument("client")
@on_ledger
def lift(store: RedisLedger, client: str) -> None:
    """Let updates of CLIENT count again, without any suspicion; the client's service must be started again."""
    store.transact(lambda head, now: readmit(head, client, now))
    click.echo(f"{client}: not quarantined any more")
