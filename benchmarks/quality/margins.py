"""Margins of clients' texts, and how the weights of a support move them: taken once, at the base.

The margin is the log-odds of the second of two labels. Its gradients at some texts of every client are kept in
`.cache/quality/margins`; to take them takes some twenty minutes on two cores.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality import prepare
from benchmarks.quality.stage import Stage
from fedkseed.errors import SettingError
from fedkseed.federation import Federation
from fedkseed.objectives import Encoded, LabelWordsTask

KEPT = Path(".cache/quality/margins")
TRAINED, HELD_BACK = 80, 20  # texts of a client
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Texts:
    """Texts as the base reads them."""

    gradients: Floats  # of the margin, [texts, positions of the support, or directions]
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


def read(federation: Federation) -> tuple[Mapping[str, Client], Texts]:
    """The texts of clients: those to train on, and those held back, of all clients together.

    Raises:
        SettingError: all parameters are trained, or there are other than two labels.
    """
    described = {part: asdict(getattr(federation, part)) for part in ("model", "objective", "data")}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    path = KEPT / f"{digest[:10]}.npz"
    if not path.exists():
        _take(federation, path)
    kept = np.load(path)
    each = Texts(gradients=kept["gradients"], margins=kept["margins"], labels=kept["labels"])
    clients, held = {}, np.zeros(len(each.labels), bool)
    for i, name in enumerate(kept["names"]):
        rows = np.flatnonzero(kept["owners"] == i)
        clients[str(name)] = Client(texts=each[rows[HELD_BACK:]], examples=int(kept["examples"][i]))
        held[rows[:HELD_BACK]] = True
    return clients, each[np.flatnonzero(held)]


def _take(federation: Federation, path: Path) -> None:
    """Take the gradients of some texts of every client."""
    if federation.model.support is None:
        raise SettingError("gradients of all parameters have no room: a support is needed")
    prepare.files([federation.data.train, federation.data.held_out, federation.model.support], federation.model.base)
    stage = Stage(federation)
    if not isinstance(stage.task, LabelWordsTask) or len(stage.task.labels) != 2:
        raise SettingError("only two labels have a margin")
    positions = {name: torch.from_numpy(at) for name, at in (stage.base.support or {}).items()}
    parameters = [stage.base.parameters[name] for name in positions]
    stage.shown().float()
    dice = np.random.default_rng(0)
    chosen = {
        name: [texts[i] for i in dice.permutation(len(texts))[: HELD_BACK + TRAINED]] for name, texts in stage.clients.items()
    }
    texts = [text for own in chosen.values() for text in own]
    gradients, margins = np.empty((len(texts), sum(map(len, positions.values()))), np.float32), []
    for row, text in zip(gradients, texts, strict=True):
        margin = _margin(stage, text)
        taken = torch.autograd.grad(margin, parameters)
        row[:] = torch.cat([own.cpu().reshape(-1)[at] for own, at in zip(taken, positions.values(), strict=True)])
        margins.append(float(margin.detach()))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        gradients=gradients,
        margins=np.array(margins, np.float32),
        labels=np.array([text.targets[0] for text in texts]),
        owners=np.repeat(np.arange(len(chosen)), [len(own) for own in chosen.values()]),
        names=np.array(list(chosen)),
        examples=np.array([len(stage.clients[name]) for name in chosen]),
    )
    partial.replace(path)


def _margin(stage: Stage, text: Encoded) -> torch.Tensor:
    both = replace(text, reads=text.reads * 2, targets=(0, 1))
    with stage.mixed():
        losses, _ = stage.reader.losses(stage.reader.prepare([both]))
    return losses[0] - losses[1]
