"""Subcommands that show and change the policy of a federation."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from fedkseed.federation import Policy, parse_policy
from fedkseed.ledger.operate import set_policy
from fedkseed.ledger.redis import RedisLedger
from fedkseed_cli.operate import unless_over
from fedkseed_cli.target import on_ledger

Assignment = tuple[str, str]


@click.group()
def policy() -> None:
    """Show or change the policy of a federation.

    That is what may change while it runs: the sections [training], [rounds] and [robust] of federation.toml.
    """


@policy.command()
@on_ledger
def show(store: RedisLedger) -> None:
    """Print the policy, one setting per line.

    The lines have the form that `fedkseed policy set` takes.
    """
    for key, value in stated(asdict(store.head().policy)):
        click.echo(f"{key}={value}")


@policy.command("set")
@click.argument("assignments", nargs=-1, required=True, metavar="KEY=VALUE...")
@on_ledger
def set_(store: RedisLedger, assignments: tuple[str, ...]) -> None:
    """Change settings, such as training.lr=1e-4.

    Nothing after the sign puts the default back. All of them change together, or none. Prints what is different now.
    """
    changes = [_split(assignment) for assignment in assignments]
    before = dict(stated(asdict(store.head().policy)))
    store.transact(unless_over(lambda head, now: set_policy(head, revised(head.policy, changes), now)))
    for key, value in stated(asdict(store.head().policy)):
        if before.get(key) != value:
            click.echo(f"{key}={value}")


def stated(settings: Mapping[str, Any], section: str = "") -> Iterator[Assignment]:
    """Settings with their dotted names and values as text; nothing for none."""
    for name, value in settings.items():
        match value:
            case dict():
                yield from stated(value, f"{section}{name}.")
            case None | str():
                yield f"{section}{name}", value or ""
            case _:
                yield f"{section}{name}", json.dumps(value)


def revised(policy: Policy, changes: Sequence[Assignment]) -> Policy:
    """A policy with some settings changed.

    Raises:
        SettingError: the first setting at fault, named.
    """
    settings = asdict(policy)
    for key, value in changes:
        *sections, name = key.split(".")
        place = settings
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        if value or name not in place:
            place[name] = value
        else:
            del place[name]
    return parse_policy(settings)


def _split(assignment: str) -> Assignment:
    key, sign, value = assignment.partition("=")
    if not sign:
        raise click.UsageError(f"{assignment!r} is not of the form KEY=VALUE")
    return key.strip(), value.strip()
