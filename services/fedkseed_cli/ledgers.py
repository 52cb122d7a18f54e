"""Subcommands on a `ledger.safetensors`: show what it says, verify it against its base, export the model."""

from pathlib import Path

import click

from fedkseed.ledger import artifact

LEDGER = click.argument("ledger", type=click.Path(path_type=Path))
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
@LEDGER
@BASE
@SUPPORT
@click.option("--threads", type=click.IntRange(1), help="Threads of the rebuild; all cores by default.")
def verify(ledger: Path, base: str, support: Path | None, threads: int | None) -> None:
    """Verify LEDGER and its base, rebuild the model and print its weights digest.

    Two machines that print the same weights digest hold the same fine-tuned model, bit for bit.
    """
    from fedkseed import model

    tuned = model.open_tuned(base, ledger, support, threads)
    click.echo(f"state digest    {tuned.ledger.state.hex()}  (version {tuned.ledger.version})")
    click.echo(f"base digest     {tuned.ledger.genesis.base_digest}")
    click.echo(f"weights digest  {tuned.weights_digest}")


@click.command()
@LEDGER
@BASE
@SUPPORT
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Directory to make.")
def export(ledger: Path, base: str, support: Path | None, out: Path) -> None:
    """Write the fine-tuned model of LEDGER as a complete Hugging Face directory, weights and tokenizer."""
    from fedkseed import model

    model.check_vacant(out)
    tuned = model.open_tuned(base, ledger, support)
    model.export(tuned, out)
    click.echo(f"{out}: version {tuned.ledger.version}, weights digest {tuned.weights_digest}")
