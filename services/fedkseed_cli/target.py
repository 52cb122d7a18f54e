"""How the subcommands that operate a federation get at its ledger in Redis.

The environment says where it is (`OperatorSettings`); options of the same names come before it. What is stored is
verified before it is used, and a Redis that does not answer ends the subcommand instead of being waited for.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Concatenate, ParamSpec

import click

from fedkseed import settings
from fedkseed.ledger.redis import RedisLedger
from fedkseed.settings import OperatorSettings

P = ParamSpec("P")

SAFER = "FEDKSEED_{0}_URL or, better for a password, FEDKSEED_{0}_URL_FILE"  # arguments show in lists of processes
FEDERATION = click.option("--federation", metavar="NAME", help="The federation; without it, FEDKSEED_FEDERATION.")
REDIS = click.option(
    "--redis-url",
    metavar="URL",
    help=f"Redis, which holds the ledger; without it, {SAFER.format('REDIS')}.",
)


def located(federation: str | None, redis_url: str | None) -> OperatorSettings:
    """Say where a ledger is: what was given, and the environment for the rest.

    Raises:
        SettingError: the first setting that is missing or wrong, by the name of its variable.
    """
    return settings.read(OperatorSettings, os.environ, federation=federation, redis_url=redis_url)


@contextmanager
def opened(federation: str | None, redis_url: str | None) -> Iterator[RedisLedger]:
    """Open a ledger for as long as it is needed.

    Raises:
        SettingError: as for `located`.
        LedgerError: as for `RedisLedger.open`.
    """
    where = located(federation, redis_url)
    with closing(RedisLedger.open(str(where.redis_url), where.federation, tls=where.tls)) as store:
        yield store


def on_ledger(command: Callable[Concatenate[RedisLedger, P], None]) -> Callable[..., None]:
    """Give a subcommand the ledger it works on as its first argument, and the options that say which."""

    @FEDERATION
    @REDIS
    @functools.wraps(command)
    def at(federation: str | None, redis_url: str | None, *args: P.args, **kwargs: P.kwargs) -> None:
        with opened(federation, redis_url) as store:
            command(store, *args, **kwargs)

    return at
