"""Subcommand that chooses a sparse support."""

from pathlib import Path

import click


@click.command()
@click.argument("base", metavar="BASE")
@click.option("--text", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Public text, UTF-8.")
@click.option(
    "--fraction", default=0.001, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="Share of the parameters."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The support.safetensors to write.")
@click.option("--samples", default=32, show_default=True, type=click.IntRange(1), help="Passages of text to look at.")
@click.option("--length", default=128, show_default=True, type=click.IntRange(2), help="Tokens of a passage.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which passages.")
def support(base: str, text: Path, fraction: float, out: Path, samples: int, length: int, seed: int) -> None:
    """Choose the parameters of BASE that matter most and write them to a support.safetensors.

    Those with the largest squared gradients of the language-model loss on public text are chosen. A federation that
    trains one thousandth of the weights needs several times fewer steps, and its clients no second copy of the model.
    """
    from fedkseed import model
    from fedkseed.zo.support import write

    chosen = model.choose_support(base, text, fraction=fraction, samples=samples, length=length, seed=seed)
    write(out, chosen)
    count = sum(len(positions) for positions in chosen.values())
    click.echo(f"{out}: {count:,} positions in {len(chosen)} tensors")
