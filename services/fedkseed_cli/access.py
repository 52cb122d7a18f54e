"""Subcommands on who may take part: a RabbitMQ user for each participant, who can do nothing in the name of another."""

import datetime as dt
import os
import re
from collections import Counter
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import click

from fedkseed import settings
from fedkseed.errors import FileError, SettingError
from fedkseed.settings import AccessSettings
from fedkseed.transport import rights
from fedkseed.transport.rights import Participant
from fedkseed_cli import credentials
from fedkseed_cli.management import Management
from fedkseed_cli.target import FEDERATION, SAFER

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MANAGEMENT = click.option(
    "--management-url",
    metavar="URL",
    help=f"RabbitMQ's management; without it, {SAFER.format('MANAGEMENT')}.",
)


@click.group()
def access() -> None:
    """Give and take access to a federation at RabbitMQ.

    Every participant is a user of its own name. It may declare and read its own two queues, publish in its own name, and
    nothing else.
    """


@access.command()
@click.argument("name")
@click.option("--evaluator", is_flag=True, help="It sends scores instead of updates.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="For its URL; NAME.amqp-url without it.")
@FEDERATION
@MANAGEMENT
def add(name: str, evaluator: bool, out: Path | None, federation: str | None, management_url: str | None) -> None:
    """Let NAME take part: make its user, and write the URL that it connects with to a file that only you can read.

    The URL is FEDKSEED_AMQP_URL with the new user and its password, which is not kept anywhere else.
    """
    if not NAME.fullmatch(name) or name in rights.RESERVED:
        raise SettingError(f"{name}: no name for a participant: 1 to 64 of A-Z a-z 0-9 _ -, and not that of a role")
    where = located(federation, management_url)
    kind: Participant = "evaluator" if evaluator else "client"
    secret, file = credentials.password(), out or Path(f"{name}.amqp-url")
    with _private(file) as kept:
        try:
            managed(where).add(name, secret, rights.of_participant(where.federation, kind, name))
        except BaseException:
            file.unlink()
            raise
        kept.write(_url(where, name, secret) + "\n")
    click.echo(f"{name} may take part in {where.federation} as {kind}; its URL is in {file}")


@access.command()
@click.argument("name")
@FEDERATION
@MANAGEMENT
def revoke(name: str, federation: str | None, management_url: str | None) -> None:
    """Take NAME's access away: remove its user, whose connections RabbitMQ closes at once.

    What it has contributed stays in the ledger.
    """
    if name in rights.RESERVED:
        raise SettingError(f"{name}: no participant, but a role")
    where = located(federation, management_url)
    managed(where).remove(name)
    click.echo(f"{name} has no access any more; the ledger is as it was")


@access.command("list")
@FEDERATION
@MANAGEMENT
def list_(federation: str | None, management_url: str | None) -> None:
    """Show who has access: one line for each, with limits, connections, and since when the newest is there."""
    where = located(federation, management_url)
    broker = managed(where)
    limits = {each["user"]: each["value"] for each in broker.limits()}
    connected = broker.connections()
    count, newest = Counter(each.get("user") for each in connected), dict[str, int]()
    for each in connected:
        newest[each["user"]] = max(newest.get(each["user"], 0), each.get("connected_at", 0))
    for name in sorted(_participants(broker, where.federation)):
        most = limits.get(name, {}).get("max-connections", "any number")
        click.echo(f"{name}  {count[name]} of {most} connections  {_since(newest.get(name))}")


@access.command()
@click.option("--federation", required=True, metavar="NAME")
@click.option("--client", "clients", required=True, multiple=True, metavar="CLIENT", help="One for each client.")
@click.option("--out", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option("--namespace", metavar="NAMESPACE", help="Of Kubernetes: servers are named so that all namespaces find them.")
@click.option("--amqps", is_flag=True, help="RabbitMQ is reached by TLS.")
@click.option("--rediss", is_flag=True, help="Redis is reached by TLS.")
def definitions(
    *, federation: str, clients: tuple[str, ...], folder: Path, namespace: str | None, amqps: bool, rediss: bool
) -> None:
    """Make the credentials of a whole federation, for servers that load them when they start.

    \b
    One folder for each role in DIR, so that each is given its own and no other:
      rabbitmq/    definitions.json: users and what they may do
      redis/       users.acl: likewise
      aggregator/  amqp-url, redis-url
      evaluator/   amqp-url
      clients/     one AMQP URL for each client, in a file of its name
      operator/    amqp-url, redis-url; user and password are also those of RabbitMQ's management pages
      monitor/     amqp-url of a user that sees how long queues are; redis-passwords.json for the exporter of Redis
      grafana/     password of the user `admin`

    Servers know hashes only. What is in DIR already stays: to change a password is to remove its file, and to add a client is
    to name it beside the others.
    """  # noqa: D301 - click's mark is the character itself
    for name in clients:
        if not NAME.fullmatch(name) or name in (*rights.RESERVED, credentials.EVALUATOR):
            raise SettingError(f"{name}: no name for a client")
    made = credentials.make(federation, clients, folder, namespace, amqps=amqps, rediss=rediss)
    click.echo(f"{folder}: credentials of {', '.join(made)}")


def located(federation: str | None, management_url: str | None) -> AccessSettings:
    """Say which federation, at which broker: what was given, and the environment for the rest.

    Raises:
        SettingError: the first setting that is missing or wrong, by the name of its variable.
    """
    return settings.read(AccessSettings, os.environ, federation=federation, management_url=management_url)


def managed(where: AccessSettings) -> Management:
    """The management of the broker that participants connect to."""
    return Management(str(where.management_url), unquote(urlsplit(str(where.amqp_url)).path[1:]) or "/", where.tls)


def _participants(broker: Management, federation: str) -> set[str]:
    """Users whose rights are those of a participant of the federation."""
    return {
        each["user"]
        for each in broker.permissions()
        if each["configure"] == rights.of_participant(federation, "client", each["user"]).configure
    }


def _since(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "away"
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="seconds")


def _url(where: AccessSettings, name: str, secret: str) -> str:
    parts = urlsplit(str(where.amqp_url))
    return urlunsplit(parts._replace(netloc=f"{quote(name)}:{secret}@{parts.netloc.rpartition('@')[2]}"))


def _private(file: Path) -> TextIO:
    """A new file that nobody else reads."""
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise FileError(f"{file}: {error.strerror}") from error
