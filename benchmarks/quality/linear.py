"""What a row would come to if its margins were linear in the weights: a model of zeroth-order training that runs in seconds.

    python -m benchmarks.quality.linear "methods/ours: 1/10,000, by agreement, one client a round, 80 rounds, cosine"
    python -m benchmarks.quality.linear ROW --lr 2e-4 --directions 8 --steps 5

The gradients of the margin (log-odds of the second label) of some texts of every client are taken once, at the base and on
the row's support, and kept in `.cache/quality/gradients`; that takes minutes. From then on steps are what clients do: batches
of their texts, random signs, two-point differences, rounds weighted by numbers of examples. It leaves out what is not linear,
so it is no result; docs/log.md says how far it foretold results.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality import experiments, prepare
from benchmarks.quality.experiments import Run
from benchmarks.quality.simulated import factor
from benchmarks.quality.stage import Stage
from fedkseed.objectives import Encoded, LabelWordsTask

CACHE = Path(".cache/quality/gradients")
TRAINED, HELD_BACK = 80, 20  # texts of a client
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Texts:
    """Texts as the base reads them."""

    gradients: Floats  # of the margin, [texts, positions of the support]
    margins: Floats  # [texts], at the base
    labels: NDArray[np.int64]  # [texts], 0 or 1

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "Texts":
        return Texts(gradients=self.gradients[rows], margins=self.margins[rows], labels=self.labels[rows])

    def losses(self, moved: Floats) -> Floats:
        """Mean cross-entropy where the margins have moved by [texts, any number of variants]: one value each."""
        margins = self.margins[:, None] + moved
        return np.asarray((np.logaddexp(0, margins) - self.labels[:, None] * margins).mean(axis=0), np.float32)

    def accuracy(self, moved: Floats) -> float:
        """Share of texts whose margin, moved by [texts], has the right sign."""
        return float(((self.margins + moved > 0) == self.labels).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client's texts, and how many examples it has in all."""

    texts: Texts
    examples: int


def foretold(
    run: Run, clients: Mapping[str, Client], held: Texts, seed: int, directions: int = 1
) -> Iterator[tuple[int, float, float]]:
    """Forwards, loss and accuracy on texts that no client trains on, after every round.

    Args:
        run: its rounds, participation, steps, rate, schedule, batch and size of a perturbation count.
        clients: who takes part.
        held: what is scored.
        seed: what is left to chance.
        directions: how many share a batch and its unperturbed loss; one is measured on both sides.
    """
    training, rounds = run.federation.training, run.federation.rounds
    dice = np.random.default_rng(seed)
    weights = np.zeros(held.gradients.shape[1], np.float32)
    forwards, total = 0, rounds.total or 1
    for version in range(total):
        rate = training.lr * factor(run.schedule, version / total)
        members = _invited(list(clients.values()), rounds.participation, dice)
        moved = np.zeros_like(weights)
        for client in members:
            here = weights.copy()
            for _ in range(training.steps):
                batch = client.texts[dice.choice(len(client.texts.labels), training.batch, replace=False)]
                signs = dice.choice(np.array([-1, 1], np.float32), (len(here), directions))
                here -= np.float32(rate) * (signs @ _differences(batch, here, signs, training.eps))
                forwards += training.batch * (2 if directions == 1 else directions + 1)
            moved += np.float32(client.examples / sum(one.examples for one in members)) * (here - weights)
        weights += moved
        shift = held.gradients @ weights
        yield forwards, float(held.losses(shift[:, None])[0]), held.accuracy(shift)


def _invited(clients: list[Client], participation: float, dice: np.random.Generator) -> list[Client]:
    """Those of a round; a round without any is announced again."""
    while not (members := [client for client in clients if dice.random() < participation]):
        pass
    return members


def _differences(batch: Texts, weights: Floats, signs: Floats, eps: float) -> Floats:
    """Scalar gradients of a batch along directions: [directions]."""
    there, along = (batch.gradients @ weights)[:, None], np.float32(eps) * (batch.gradients @ signs)
    if signs.shape[1] == 1:
        return np.asarray((batch.losses(there + along) - batch.losses(there - along)) / (2 * eps), np.float32)
    return np.asarray((batch.losses(there + along) - batch.losses(there)) / eps, np.float32)


def read(run: Run) -> tuple[Mapping[str, Client], Texts]:
    """The texts of a run's clients, those to train on and those held back; gradients are taken where they are not cached."""
    described = run.federation
    if not described.model.support:
        raise SystemExit("gradients on all parameters have no room; choose a row with a support")
    prepare.files([described.data.train, described.data.held_out, described.model.support], described.model.base)
    path = CACHE / f"{Path(described.model.support).stem}.npz"
    if not path.exists():
        _take(run, path)
    kept = np.load(path)
    each = Texts(gradients=kept["gradients"], margins=kept["margins"], labels=kept["labels"])
    clients, held = {}, np.zeros(len(each.labels), bool)
    for i, name in enumerate(kept["names"]):
        rows = np.flatnonzero(kept["owners"] == i)
        clients[str(name)] = Client(texts=each[rows[HELD_BACK:]], examples=int(kept["examples"][i]))
        held[rows[:HELD_BACK]] = True
    return clients, each[np.flatnonzero(held)]


def _take(run: Run, path: Path) -> None:
    """Take the gradients of some texts of every client."""
    stage = Stage(run.federation)
    if not isinstance(stage.task, LabelWordsTask) or len(stage.task.labels) != 2 or stage.base.support is None:
        raise SystemExit("only two labels have a margin")
    positions = {name: torch.from_numpy(at) for name, at in stage.base.support.items() if len(at)}
    parameters = [stage.base.parameters[name] for name in positions]
    stage.shown().float()
    dice = np.random.default_rng(0)
    chosen = {
        name: [texts[i] for i in dice.permutation(len(texts))[: HELD_BACK + TRAINED]] for name, texts in stage.clients.items()
    }
    gradients, margins = [], []
    for text in (text for texts in chosen.values() for text in texts):
        margin = _margin(stage, text)
        taken = torch.autograd.grad(margin, parameters)
        rows = [own.cpu().reshape(-1)[at].float() for own, at in zip(taken, positions.values(), strict=True)]
        gradients.append(torch.cat(rows).numpy())
        margins.append(float(margin.detach()))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        gradients=np.stack(gradients),
        margins=np.array(margins, np.float32),
        labels=np.array([text.targets[0] for texts in chosen.values() for text in texts]),
        owners=np.repeat(np.arange(len(chosen)), [len(texts) for texts in chosen.values()]),
        names=np.array(list(chosen)),
        examples=np.array([len(stage.clients[name]) for name in chosen]),
    )
    partial.replace(path)


def _margin(stage: Stage, text: Encoded) -> torch.Tensor:
    """Log-odds of the second label, as a loss that can be differentiated."""
    both = replace(text, reads=text.reads * 2, targets=(0, 1))
    mixed = stage.dtype != torch.float32
    with torch.autocast(stage.device.type, stage.dtype, enabled=mixed, cache_enabled=False):
        losses, _ = stage.reader.losses(stage.reader.prepare([both]))
    return losses[0] - losses[1]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", metavar="EXPERIMENT/ROW")
    parser.add_argument("--lr", type=float, help="another learning rate")
    parser.add_argument("--steps", type=int, help="another number of steps")
    parser.add_argument("--rounds", type=int, help="another number of rounds")
    parser.add_argument("--participation", type=float, help="another share of clients")
    parser.add_argument("--directions", type=int, default=1, help="how many share a batch and its unperturbed loss")
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    experiment, _, row = arguments.row.partition("/")
    described = next(one for one in experiments.read() if one.name == experiment)
    run = experiments.run(described, described.row(row), 1)
    plain = run.federation
    run = replace(
        run,
        federation=replace(
            plain,
            training=replace(
                plain.training, lr=arguments.lr or plain.training.lr, steps=arguments.steps or plain.training.steps
            ),
            rounds=replace(
                plain.rounds,
                total=arguments.rounds or plain.rounds.total,
                participation=arguments.participation or plain.rounds.participation,
            ),
        ),
    )
    clients, held = read(run)
    curves = np.array([list(foretold(run, clients, held, seed, arguments.directions)) for seed in range(arguments.seeds)])
    for version in sorted({*range(0, curves.shape[1], max(1, curves.shape[1] // 10)), curves.shape[1] - 1}):
        forwards, loss, accuracy = curves[:, version].mean(axis=0)
        spread = curves[:, version, 1].std()
        print(f"version {version + 1:3}  {forwards:7,.0f} forwards  loss {loss:.3f} ± {spread:.3f}  accuracy {accuracy:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
