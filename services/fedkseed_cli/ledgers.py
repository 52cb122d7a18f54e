"""Subcommands on a `ledger.safetensors`: show what it says, verify it against its base, export the model.

Without a file, `verify` and `export` work on the ledger in Redis, which has all versions.
"""

from pathlib import Path

import click

from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from fedkseed_cli.history import BEST, VERSION, at, chosen
from fedkseed_cli.target import FEDERATION, REDIS, opened

LEDGER = click.argument("ledger", type=click.Path(path_type=Path))
ANY_LEDGER = click.argument("ledger", required=False, type=click.Path(path_type=Path))
BASE = click.option("--base", required=True, metavar="MODEL", help="The base: a Hugging Face model id or a directory.")
SUPPORT = click.option(
    "--support", type=click.Path(path_type=Path), metavar="FILE", help="The support.safetensors, if the federation has one."
)


@click.command()
@LEDGER
def show(ledger: Path) -> None:
    """Show what LEDGER, a ledger.safetensors, says: federation, version, pool, objective, digests. Needs no model."""
    read = artifact.read(ledger)
    genesis, used = read.genesis, int((read.coefficients != 0).sum())
    click.echo(f"federation      {genesis.federation}")
    click.echo(f"version         {read.version}")
    click.echo(f"seed pool       {genesis.pool.family}, K = {genesis.pool.size}, seed {genesis.pool.seed}")
    click.echo(f"coefficients    {used} of {genesis.pool.size} are not zero; a tick is {genesis.tick:g}")
    click.echo(f"objective       {genesis.objective.kind}, template {genesis.objective.template!r}")
    click.echo(f"base            {len(genesis.layout)} tensors, digest {genesis.base_digest}")
    click.echo(f"support         {genesis.support_digest or 'all parameters'}")
    click.echo(f"state digest    {read.state.hex()}")


@click.command()
@ANY_LEDGER
@click.option("--base", metavar="MODEL", help="The base: a Hugging Face model id or a directory; LEDGER needs it.")
@SUPPORT
@click.option("--threads", type=click.IntRange(1), help="Threads of the rebuild; all cores by default.")
@FEDERATION
@REDIS
def verify(
    ledger: Path | None,
    base: str | None,
    support: Path | None,
    threads: int | None,
    federation: str | None,
    redis_url: str | None,
) -> None:
    """Verify LEDGER and its base, rebuild the model and print its weights digest.

    Two machines that print the same weights digest hold the same fine-tuned model, bit for bit. Without LEDGER, every
    version of the ledger in Redis is verified, and with a base its newest one is rebuilt.
    """
    if ledger and base is None:
        raise click.UsageError("Missing option '--base'.")
    read = artifact.read(ledger) if ledger else _newest(federation, redis_url)
    digest = base and _weights_digest(read, base, support, threads)
    if not ledger:
        click.echo(f"log             every digest is right, from version 1 to {read.version}")
    click.echo(f"state digest    {read.state.hex()}  (version {read.version})")
    click.echo(f"base digest     {read.genesis.base_digest}")
    if digest:
        click.echo(f"weights digest  {digest}")


def _newest(federation: str | None, redis_url: str | None) -> Artifact:
    with opened(federation, redis_url) as store:
        return at(store)


def _weights_digest(read: Artifact, base: str, support: Path | None, threads: int | None) -> str:
    from fedkseed import model

    return model.weights_digest(read.genesis, read.coefficients, base, support, threads)


@click.command()
@ANY_LEDGER
@BASE
@SUPPORT
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Directory to make.")
@VERSION
@BEST
@FEDERATION
@REDIS
def export(
    ledger: Path | None,
    base: str,
    support: Path | None,
    out: Path,
    version: int | None,
    best: str | None,
    federation: str | None,
    redis_url: str | None,
) -> None:
    """Write the fine-tuned model of LEDGER as a complete Hugging Face directory, weights and tokenizer.

    Without LEDGER, it is a version of the ledger in Redis.
    """
    if ledger and (version is not None or best is not None):
        raise click.UsageError("LEDGER is one version; --version and --best choose one of the ledger in Redis")
    from fedkseed import model

    model.check_vacant(out)
    if ledger:
        read = artifact.read(ledger)
    else:
        with opened(federation, redis_url) as store:
            read = chosen(store, version, best)
    tuned = model.open_tuned(base, read, support)
    model.export(tuned, out)
    click.echo(f"{out}: version {tuned.ledger.version}, weights digest {tuned.weights_digest}")
