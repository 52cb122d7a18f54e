"""What a row would come to if its margins were linear in the weights: a model of zeroth-order training that runs in seconds.

    python -m benchmarks.quality.linear "effort/one client a round, 80 rounds"
    python -m benchmarks.quality.linear EXPERIMENT/ROW training.lr=2e-4 training.steps=40 training.directions_per_batch=8

Steps are what clients do: batches of their texts, a pool of random signs, differences of two losses, rounds weighted by numbers
of examples. It leaves out what is not linear and most of the clients' texts, so it is no result; docs/log.md says how far it
foretold results.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import experiments, margins
from benchmarks.quality.experiments import Run
from benchmarks.quality.margins import Client, Floats, Texts
from benchmarks.quality.simulated import factor
from fedkseed.errors import FedkseedError
from fedkseed.zo.estimator import evaluations

SHOWN = 10  # versions of a curve
BLOCK = 1024  # positions whose directions are there at a time


def foretold(run: Run, clients: Mapping[str, Client], held: Texts, seed: int) -> Iterator[tuple[int, float, float]]:
    """Forwards, loss and accuracy on texts that no client trains on, after every round.

    Args:
        run: the size of its pool, its training, schedule, participation and number of rounds count.
        clients: who takes part.
        held: what is scored.
        seed: what is left to chance.
    """
    training, rounds = run.federation.training, run.federation.rounds
    size, directions, total = run.federation.pool.size, training.directions_per_batch, rounds.total or 1
    dice = np.random.default_rng(seed)
    *own, held = _along_pool([*(client.texts for client in clients.values()), held], size, dice)
    parties = [replace(client, texts=texts) for client, texts in zip(clients.values(), own, strict=True)]
    coefficients = np.zeros(size, np.float32)
    forwards = 0
    for version in range(total):
        rate = np.float32(training.lr * factor(run.schedule, version / total))
        members = _invited(parties, rounds.participation, dice)
        moved = np.zeros_like(coefficients)
        for member in members:
            here = coefficients.copy()
            for _ in range(training.steps // directions):
                batch = member.texts[dice.choice(len(member.texts.labels), training.batch, replace=False)]
                drawn = dice.integers(0, size, directions)
                np.subtract.at(here, drawn, rate * _differences(batch, here, drawn, training.eps))
            forwards += training.batch * evaluations(training.steps, directions)
            moved += np.float32(member.examples / sum(one.examples for one in members)) * (here - coefficients)
        coefficients += moved
        shift = held.gradients @ coefficients
        yield forwards, float(held.losses(shift[:, None])[0]), held.accuracy(shift)


def _along_pool(several: Sequence[Texts], size: int, dice: np.random.Generator) -> list[Texts]:
    """The same texts, with the gradients of their margins along the directions of a pool, which are random signs."""
    gradients = np.concatenate([texts.gradients for texts in several])
    along = np.zeros((len(gradients), size), np.float32)
    for block in np.array_split(gradients, -(-gradients.shape[1] // BLOCK), axis=1):
        along += block @ dice.choice(np.array([-1, 1], np.float32), (block.shape[1], size))
    parts = np.split(along, np.cumsum([len(texts.labels) for texts in several])[:-1])
    return [replace(texts, gradients=part) for texts, part in zip(several, parts, strict=True)]


def _invited(clients: list[Client], participation: float, dice: np.random.Generator) -> list[Client]:
    """Those of a round; a round without any is announced again."""
    while not (members := [client for client in clients if dice.random() < participation]):
        pass
    return members


def _differences(batch: Texts, coefficients: Floats, drawn: NDArray[np.int64], eps: float) -> Floats:
    """Scalar gradients of a batch along the directions drawn, shape [directions]."""
    there, along = (batch.gradients @ coefficients)[:, None], np.float32(eps) * batch.gradients[:, drawn]
    if len(drawn) == 1:
        return np.asarray((batch.losses(there + along) - batch.losses(there - along)) / (2 * eps), np.float32)
    return np.asarray((batch.losses(there + along) - batch.losses(there)) / eps, np.float32)


def changed(name: str, settings: Sequence[str]) -> Run:
    """The run of a row, by its name and that of its experiment, with some settings of its federation changed.

    Raises:
        SettingError: a setting is unknown or out of range.
        ValueError: there is no such row, or a setting is not TOML.
    """
    for experiment in experiments.read():
        for row in experiment.rows:
            if f"{experiment.name}/{row.name}" == name:
                described = experiments.merged(row.federation, tomllib.loads("\n".join(settings)))
                return experiments.run(experiment, replace(row, federation=described), experiments.SEARCH_SEED)
    raise ValueError(f"no row {name}; `python -m benchmarks.quality --list` names them")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", metavar="EXPERIMENT/ROW")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="other settings of its federation, as TOML has them")
    parser.add_argument("--seeds", type=int, default=4, help="how often; means are shown")
    arguments = parser.parse_intermixed_args()
    try:
        run = changed(arguments.row, arguments.settings)
        clients, held = margins.read(run.federation)
    except (FedkseedError, ValueError) as error:
        parser.error(str(error))
    curves = np.array([list(foretold(run, clients, held, seed)) for seed in range(arguments.seeds)])
    last = curves.shape[1] - 1
    for version in sorted({*range(0, last, -(-last // SHOWN) or 1), last}):
        forwards, loss, accuracy = curves[:, version].mean(axis=0)
        spread = curves[:, version, 1].std()
        print(f"version {version + 1:3}  {forwards:7,.0f} forwards  loss {loss:.3f} ± {spread:.3f}  accuracy {accuracy:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
