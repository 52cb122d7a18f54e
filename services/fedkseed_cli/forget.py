"""Subcommand that takes the contributions of a client out of a ledger; what it does is decided in `fedkseed.ledger.forget`."""

import click

from fedkseed.ledger import forget as forgetting
from fedkseed.transport import archive
from fedkseed.transport.line import Server
from fedkseed_cli.dead import AMQP, located
from fedkseed_cli.target import FEDERATION, REDIS, opened


@click.command()
@click.argument("client")
@FEDERATION
@REDIS
@AMQP
def forget(client: str, federation: str | None, redis_url: str | None, amqp_url: str | None) -> None:
    """Make a next version without what CLIENT has contributed so far.

    Needs the archive, which aggregators keep with FEDKSEED_ARCHIVE=true, from version 0 on. It removes the contribution from
    the sums. It does not undo its influence on what others measured, and does not delete anything: not the log, not the
    archive, not what participants hold.
    """
    where = located(federation, amqp_url)
    server = Server(str(where.amqp_url), "fedkseed forget", where.tls)
    with opened(federation, redis_url) as store:
        head, commits = store.head(), tuple(store.commits())
        kept = forgetting.gathered(archive.read(server, where.federation), commits, head)
        folded = store.transact(lambda head, now: forgetting.forget(head, client, commits, kept, now))
        (commit,) = folded.commits
        click.echo(f"{where.federation}: version {commit.version} holds nothing that {client} has contributed")
        click.echo("its influence on what others measured is not undone; log and archive still hold what it sent")
        for receipt in folded.voided:
            click.echo(f"update of {receipt.client} on version {receipt.base}: {receipt.outcome}, {receipt.reason}")
