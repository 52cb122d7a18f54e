"""What clients of a real model say: updates of a simulated federation, recorded once, replayed where they are needed.

The federation is examples/sentiment-full.toml, all parameters of SmolLM2-135M, with the published 200 steps of a client and a
cohort of ten. Each update is written when it is measured, so that a recording that is stopped early is a shorter one; one
takes some minutes on two cores.

    nice -n 10 python -m benchmarks.recording [--rounds N] [--out FILE]
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray

from fedkseed import data, model
from fedkseed import federation as settings
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_simulator.run import Embedded

COHORT, STEPS, BATCH, LR = 10, 200, 4, 5e-6
HERE = Path(__file__).parent / "data" / "smollm2-updates.npz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """Updates in the order in which they were measured."""

    base: NDArray[np.uint16]  # shape (updates,): the version that each was measured on
    examples: NDArray[np.uint16]  # shape (updates,): how many its client held
    k: NDArray[np.uint16]  # shape (updates, steps): seed indices
    g: NDArray[np.float16]  # shape (updates, steps): scalar gradients

    def update(self, number: int) -> Trained:
        """One of them, as a trainer reports it; after the last comes the first again."""
        i = number % len(self.base)
        return Trained(base=0, k=self.k[i].tobytes(), g=self.g[i].tobytes(), loss=0.75, seconds=120.5, skipped=0)


def read(path: Path = HERE) -> Recording:
    """Read a recording."""
    with np.load(path) as kept:
        return Recording(**{name: kept[name] for name in Recording.__slots__})


def federation(rounds: int) -> settings.Federation:
    """The federation that is recorded."""
    example = settings.load(Path("examples/sentiment-full.toml"))
    return replace(
        example,
        training=replace(example.training, steps=STEPS, batch=BATCH, lr=LR),
        rounds=replace(example.rounds, cohort=COHORT, participation=1.0, max_staleness=0, deadline_seconds=1e6, total=rounds),
        evaluation=replace(example.evaluation, examples=32),
    )


class Recorder(Embedded):
    """Clients in one process, whose updates are written down."""

    def __init__(self, described: settings.Federation, out: Path) -> None:
        dataset, base = data.load(described), model.open_base(described.model.base)
        super().__init__(described, model.found(described, base), base, dataset)
        self._examples = {name: len(examples) for name, examples in dataset.clients.items()}
        self._out = out
        self._rows: list[tuple[int, int, NDArray[np.uint16], NDArray[np.float16]]] = []

    def train(self, client: str, assignment: Assignment) -> Trained:
        """Measure and write."""
        trained = super().train(client, assignment)
        assert not trained.skipped, "a recording has as many pairs as steps"
        k, g = np.frombuffer(trained.k, "<u2"), np.frombuffer(trained.g, "<f2")
        self._rows.append((assignment.base, self._examples[client], k, g))
        base, examples, seeds, gradients = zip(*self._rows, strict=True)
        small = (np.array(values, np.uint16) for values in (base, examples, seeds))
        columns = (*small, np.array(gradients, np.float16))
        named: dict[str, Any] = dict(zip(Recording.__slots__, columns, strict=True))
        np.savez(self._out, **named)
        size = np.sqrt(np.mean(np.square(g, dtype=np.float64)))
        print(f"version {assignment.base}  {client:<10} loss {trained.loss:.3f}  root mean square of its scalars {size:.2f}")
        return trained


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="rounds to record")
    parser.add_argument("--out", type=Path, default=HERE, help="where to")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    Recorder(federation(arguments.rounds), arguments.out).simulation(lambda _: None).run()


if __name__ == "__main__":
    main()
