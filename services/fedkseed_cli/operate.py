"""Subcommands that change a federation by hand; what each does is decided in `fedkseed.ledger.operate`.

They write to the ledger and leave: the aggregators notice within seconds, and announce what there is to announce.
"""

import click

from fedkseed.errors import LedgerError
from fedkseed.ledger import operate
from fedkseed.ledger.fold import Folded
from fedkseed.ledger.head import Head
from fedkseed.ledger.redis import RedisLedger
from fedkseed.ledger.store import Change
from fedkseed_cli.history import at
from fedkseed_cli.target import on_ledger


@click.command()
@on_ledger
def pause(store: RedisLedger) -> None:
    """Let no round close, until `fedkseed resume`.

    Clients go on training on the open round, and what they send is folded into it.
    """
    store.transact(unless_over(operate.pause))
    _say(store)


@click.command()
@on_ledger
def resume(store: RedisLedger) -> None:
    """Let rounds close again after a pause.

    The open one closes at once where its cohort is complete; otherwise it is announced again, with a new deadline.
    """
    store.transact(unless_over(operate.resume))
    _say(store)


@click.command()
@on_ledger
def close(store: RedisLedger) -> None:
    """End training for good.

    The newest version becomes the last one; updates of the open round do not count. There is no way back.
    """
    _say(store, store.transact(operate.finish))


@click.command()
@click.option("--to", required=True, type=click.IntRange(0), metavar="V", help="The version to go back to.")
@on_ledger
def rollback(store: RedisLedger, to: int) -> None:
    """Make a next version that equals version V.

    Updates of the open round do not count, and whatever was measured before is refused from then on. The versions in
    between stay in the log.
    """
    coefficients = at(store, to).coefficients
    _say(store, store.transact(lambda head, now: operate.roll_back(head, coefficients, to, now)))


def unless_over(change: Change) -> Change:
    """The same change, refused once training is over."""

    def checked(head: Head, now: float) -> tuple[Head, Folded]:
        if head.state == "closed":
            raise LedgerError(f"federation {head.genesis.federation}: training is over, version {head.version} is the last")
        return change(head, now)

    return checked


def _say(store: RedisLedger, folded: Folded | None = None) -> None:
    """Say in one line where the ledger stands now, and in others what became of the open round's updates."""
    head = store.head()
    click.echo(f"{head.genesis.federation}: {head.state}, version {head.version}, attempt {head.round.attempt}")
    for receipt in folded.voided if folded else ():
        click.echo(f"update of {receipt.client} on version {receipt.base}: {receipt.outcome}, {receipt.reason}")
