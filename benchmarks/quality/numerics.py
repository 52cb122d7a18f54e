"""What becomes of a model that is rebuilt in half precision, one seed after another, as the published code does.

The ledger is folded from recorded updates of a real model (`benchmarks/data`). Exact is one sum in integers, added in float32
to the base and rounded once. The published way subtracts every seed's share from weights of 16 bits, which round each time:
what is less than half of a weight's last place is lost.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import recording
from benchmarks.quality.experiments import Run
from benchmarks.quality.records import Point, Result
from benchmarks.quality.stage import Stage
from fedkseed.federation import Pool
from fedkseed.model import TICKS_PER_STEP
from fedkseed.zo.layout import place
from fedkseed.zo.materialise import Weights

Tensors = Mapping[str, torch.Tensor]
WAYS = {
    "exact, rounded once to float16": (torch.float16, False),
    "seed by seed in float16": (torch.float16, True),
    "exact, rounded once to bfloat16": (torch.bfloat16, False),
    "seed by seed in bfloat16": (torch.bfloat16, True),
}


def half_precision(run: Run) -> Result:
    """Rebuild the model of the recorded ledger in several ways, and score each; the curve has the base and the exact model."""
    stage = Stage(run.federation, run.dtype)
    rebuild = Rebuild(run, stage)
    zero, exact = np.zeros_like(rebuild.coefficients), rebuild.exact()
    curve = (rebuild.point(0, rebuild.base), rebuild.point(1, exact))
    rows = []
    for name, (dtype, one_by_one) in WAYS.items():
        made = rebuild.one_by_one(dtype) if one_by_one else {n: t.to(dtype) for n, t in exact.items()}
        start = {n: t.to(dtype) for n, t in rebuild.base.items()}
        rows.append({"way": name, **compared(start, made, rebuild.base, exact), **rebuild.scores(made)})
    used = int(np.count_nonzero(rebuild.coefficients != zero))
    trained = sum(t.numel() for t in exact.values())
    return Result(curve=curve, trained=trained, dtype="float32", notes={"rows": rows, "seeds": used})


class Rebuild:
    """A recorded ledger, and the ways to a model.

    Args:
        run: pool and learning rate.
        stage: base and scores.
    """

    def __init__(self, run: Run, stage: Stage) -> None:
        training = run.federation.training
        self._pool, self._tick, self._stage = run.federation.pool, training.lr / TICKS_PER_STEP, stage
        self.base: Tensors = {name: p.detach().float().clone() for name, p in stage.base.parameters.items()}
        self.coefficients = folded(recording.read(), self._pool, training.steps)

    def exact(self) -> Tensors:
        """In float32, by the product's one pass."""
        out = {name: torch.empty_like(tensor) for name, tensor in self.base.items()}
        self._over(self.base, out).materialise_(self.coefficients)
        return out

    def one_by_one(self, dtype: torch.dtype) -> Tensors:
        """In a narrow dtype, each seed's share subtracted from what the one before had left."""
        narrow = {name: tensor.to(dtype) for name, tensor in self.base.items()}
        weights = self._over(narrow, narrow)
        for k in np.flatnonzero(self.coefficients):
            alone = np.zeros_like(self.coefficients)
            alone[k] = self.coefficients[k]
            weights.materialise_(alone)
        return narrow

    def point(self, version: int, tensors: Tensors) -> Point:
        """Scores, which cost nothing here."""
        return Point(version=version, seconds=0.0, updates=0, forwards=0, bytes=0, metrics=self.scores(tensors))

    def scores(self, tensors: Tensors) -> Mapping[str, float]:
        """Of the model with these weights, computed in float32."""
        for name, parameter in self._stage.base.parameters.items():
            parameter.data = tensors[name].float()
        return self._stage.score()

    def _over(self, sources: Tensors, targets: Tensors) -> Weights:
        slots = place(self._pool, self._stage.base.layout)
        return Weights(pool=self._pool, slots=slots, base=sources, working=targets, tick=self._tick)


def folded(recorded: recording.Recording, pool: Pool, steps: int) -> NDArray[np.int64]:
    """Coefficients, in ticks, of the first steps of recorded updates, averaged by how many examples each client held."""
    sums = np.zeros(pool.size, np.float64)
    for base in np.unique(recorded.base):
        members = np.flatnonzero(recorded.base == base)
        shares = recorded.examples[members] / recorded.examples[members].sum(dtype=np.float64)
        for share, member in zip(shares, members, strict=True):
            np.add.at(sums, recorded.k[member, :steps], share * recorded.g[member, :steps].astype(np.float64))
    return np.rint(TICKS_PER_STEP * sums).astype(np.int64)


def compared(start: Tensors, made: Tensors, base: Tensors, exact: Tensors) -> dict[str, float]:
    """The update that was made, beside the one that was meant: the cosine between them, and the ratio of their lengths."""
    across = length = meant = 0.0
    for name in base:
        update, intended = (made[name].double() - start[name].double()).ravel(), (exact[name] - base[name]).double().ravel()
        across += float(update @ intended)
        length += float(update @ update)
        meant += float(intended @ intended)
    return {"cosine": across / max((length * meant) ** 0.5, 1e-300), "length": (length / meant) ** 0.5}
