"""What does a batch of directions cost where the layers below the support are computed once for it?

Baseline: the same training, with the same support, whose every forward pass computes all layers. Supports have one position in
each tensor from some layer on; n directions share a batch of 8 examples of 24 tokens, which are read at their last, as label
words are, and its loss at unperturbed weights; one direction is measured on both sides. `layers` is the ratio to expect from
the number of layers that are computed.

    python -m benchmarks.trunk [--json] [--base DIR] [--runs N]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import transformers

from benchmarks.interleaved import medians, report
from benchmarks.step import BASE, EXAMPLE, WholeText
from fedkseed import federation as settings
from fedkseed import llm, model, workbench
from fedkseed.model import Base
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader
from fedkseed.zo.estimator import evaluations
from fedkseed.zo.trainer import train

SHARES = (1 / 2, 2 / 3)  # of the layers that nothing trained is in
DIRECTIONS = (1, 8, 32)  # of a batch
SIZE, LENGTH = 8, 24


def rows(base: Path, runs: int) -> list[dict[str, object]]:
    """One row for each share and number of directions."""
    return [row for share in SHARES for row in _rows(base, share, runs)]


def _rows(base: Path, share: float, runs: int) -> list[dict[str, object]]:
    opened = model.open_base(base)
    layers = len(llm.parts(opened.model)[1])
    kept = round(share * layers)
    opened = replace(opened, support=_one_position_each(opened, kept))
    genesis = model.found(settings.load(EXAMPLE), opened)
    weights, origin = workbench.set_up(genesis, opened).weights, np.zeros(genesis.pool.size, np.int64)
    readers = {
        "whole": Reader(opened.model, WholeText()),
        "trunk": Reader(opened.model, WholeText(), trained=set(opened.trained.values())),
    }
    dice, result = np.random.default_rng(0), []
    lines = dice.integers(0, 40_000, (SIZE, LENGTH)).tolist()
    batch = [Encoded(tokens=tuple(line), reads=(LENGTH - 1,), targets=(0,)) for line in lines]

    def local(reader: Reader, directions: int) -> None:
        train(
            weights,
            reader.mean_loss,
            [reader.prepare(batch)],
            coefficients=origin,
            directions=np.arange(directions),
            per_batch=directions,
            eps=1e-3,
            lr=1e-9,
        )

    for directions in DIRECTIONS:
        rivals = {name: lambda reader=reader, n=directions: local(reader, n) for name, reader in readers.items()}
        seconds = medians(rivals, runs, 1)
        passes = evaluations(directions, directions)
        result.append(
            {
                "layers once": f"{kept} of {layers}",
                "directions": directions,
                **{f"{name} s": taken for name, taken in seconds.items()},
                "ratio": seconds["trunk"] / seconds["whole"],
                "layers": (kept + passes * (layers - kept)) / (passes * layers),
            }
        )
    return result


def _one_position_each(opened: Base, first_layer: int) -> dict[str, np.ndarray]:
    """The first position of every tensor of the layers from one on."""
    upper = {p for layer in llm.parts(opened.model)[1][first_layer:] for p in layer.parameters()}
    return {name: np.zeros(1, np.int64) for name, p in opened.parameters.items() if p in upper}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=BASE, help="directory of the base model")
    parser.add_argument("--runs", type=int, default=3, help="turns of which the median counts")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    report("a batch with a trunk over one without", rows(arguments.base, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
