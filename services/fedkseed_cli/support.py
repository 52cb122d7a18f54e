"""Subcommand that chooses a sparse support."""

from pathlib import Path
from typing import Any

import click

from fedkseed.errors import SettingError

PASSAGES, EXAMPLES = 32, 400  # looked at


@click.command()
@click.argument("base", metavar="BASE")
@click.option("--text", type=click.Path(path_type=Path), metavar="FILE", help="Public text, UTF-8.")
@click.option(
    "--examples", type=click.Path(path_type=Path), metavar="FILE", help="Or examples as clients have, none of them private."
)
@click.option("--unlabelled", is_flag=True, help="Do without the labels of examples: the base guesses them.")
@click.option("--federation", type=click.Path(path_type=Path), metavar="TOML", help="The objective that examples are for.")
@click.option(
    "--fraction", default=0.001, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="Share of the parameters."
)
@click.option(
    "--from-layer", "first_layer", default=0, show_default=True, type=click.IntRange(0), help="Choose from this layer on."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The support.safetensors to write.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    help=f"Passages or examples to look at; {PASSAGES} passages or {EXAMPLES} examples without it.",
)
@click.option("--length", default=128, show_default=True, type=click.IntRange(2), help="Tokens of a passage.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which passages or examples.")
def support(
    base: str,
    text: Path | None,
    examples: Path | None,
    unlabelled: bool,
    federation: Path | None,
    fraction: float,
    first_layer: int,
    out: Path,
    samples: int | None,
    length: int,
    seed: int,
) -> None:
    """Choose the parameters of BASE that matter most and write them to a support.safetensors.

    On public text, those with the largest squared gradients of the language-model loss: a federation that trains one
    thousandth of the weights needs several times fewer steps than one that trains all, and its clients no second copy of the
    model. On a few hundred examples, those whose gradients agree most on what is to be learned: fewer steps again.
    What the layers before the first chosen parameter make of a batch is computed once for all of its directions.
    """
    from fedkseed import choosing, data
    from fedkseed import federation as settings
    from fedkseed.zo.support import write

    common: Any = {"fraction": fraction, "seed": seed, "first_layer": first_layer}
    match text, examples, federation:
        case Path(), None, None:
            chosen = choosing.on_text(base, text, samples=samples or PASSAGES, length=length, **common)
        case None, Path(), Path():
            objective, read = settings.load(federation).objective, data.read(examples)
            if unlabelled:
                read = tuple({**example, "label": 0} for example in read)
            data.check(read, objective, examples)
            chosen = choosing.on_examples(base, objective, read, labelled=not unlabelled, samples=samples or EXAMPLES, **common)
        case _:
            raise SettingError("give --text, or --examples and the --federation that they are for")
    write(out, chosen)
    count = sum(len(positions) for positions in chosen.values())
    click.echo(f"{out}: {count:,} positions in {len(chosen)} tensors")
