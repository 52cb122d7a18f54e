"""Subcommand that founds a federation."""

from contextlib import closing
from pathlib import Path

import click

from fedkseed import federation as settings
from fedkseed.errors import LedgerMissing
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.redis import RedisLedger
from fedkseed.settings import OperatorSettings
from fedkseed_cli.target import REDIS, located


@click.command()
@click.argument("federation", type=click.Path(path_type=Path), metavar="FEDERATION.TOML")
@REDIS
def init(federation: Path, redis_url: str | None) -> None:
    """Found the federation of FEDERATION.TOML in Redis.

    Writes the genesis, which can never change, and the first policy. Needs the base model. Where the same federation was
    founded before, nothing changes.
    """
    loaded = settings.load(federation)
    where = located(loaded.name, redis_url)
    before = _founded(where)  # what is wrong with Redis shows before the base is loaded
    from fedkseed import model

    genesis = model.found(loaded, model.open_base(loaded.model.base, loaded.model.support)).encode()
    with closing(RedisLedger.found(str(where.redis_url), genesis, loaded.policy, tls=where.tls)) as store:
        head = store.head()
    click.echo(f"federation      {loaded.name}")
    click.echo(f"genesis digest  {genesis_digest(genesis).hex()}")
    if before:
        policy = "is that" if head.policy == loaded.policy else "stands, it is not that"
        click.echo(
            f"founded before with this genesis; it is at version {head.version}, and its policy {policy} of {federation}"
        )


def _founded(where: OperatorSettings) -> bool:
    """Say whether a federation of that name is there, with whatever genesis."""
    try:
        RedisLedger.open(str(where.redis_url), where.federation, tls=where.tls).close()
    except LedgerMissing:
        return False
    return True
