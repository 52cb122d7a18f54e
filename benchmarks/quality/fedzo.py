"""FedZO (Fang et al. 2022): clients take zeroth-order steps along directions that nobody else has, and send all weights.

A client's directions are those of a seed pool of its own, as many as it takes steps; so steps and directions are the product's,
and only what travels differs.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.averaged import averaged
from benchmarks.quality.experiments import Run
from benchmarks.quality.moving import Moving
from benchmarks.quality.records import Result
from benchmarks.quality.stage import Stage
from fedkseed.federation import Family, Pool
from fedkseed.model import TICKS_PER_STEP
from fedkseed.objectives import Encoded
from fedkseed.zo.trainer import train

FAMILY: Family = "gaussian"


def fedzo(run: Run) -> Result:
    """Carry it out."""
    stage = Stage(run.federation, run.dtype)
    return averaged(run, stage, Fresh(run, stage))


class Fresh:
    """Zeroth-order steps along fresh directions; see `averaged.Learner`.

    Args:
        run: whose training it is.
        stage: model and loss.
    """

    passes = 2

    def __init__(self, run: Run, stage: Stage) -> None:
        self._training, self._stage = run.federation.training, stage
        self._tick = self._training.lr / TICKS_PER_STEP / 256  # a share of a step is as fine
        self.trained = sum(p.numel() for p in stage.base.parameters.values())
        self._moving = Moving(stage.base, stage.dtype, stage.device)
        self._moves: list[tuple[Pool, np.ndarray]] = []

    def learn(self, batches: Sequence[Sequence[Encoded]], share: float, chance: int) -> None:
        """Train one client."""
        steps = len(batches)
        pool = Pool(family=FAMILY, size=steps, seed=chance)
        measured = train(
            self._moving.weights(pool, self._tick),
            self._stage.reader.mean_loss,
            map(self._stage.reader.prepare, batches),
            coefficients=np.zeros(steps, np.int64),
            directions=np.arange(steps),
            eps=self._training.eps,
            lr=self._training.lr,
        )
        ticks = share * self._training.lr / self._tick * measured.gradients.astype(np.float64)
        moved = np.zeros(steps, np.int64)
        moved[measured.seed_indices] = np.rint(ticks).astype(np.int64)
        self._moves.append((pool, moved))

    def fold(self) -> None:
        """Move by the mean of all steps."""
        for pool, moved in self._moves:
            self._moving.move_(pool, self._tick, moved)
        self._moves.clear()
        self._show()

    def _show(self) -> None:
        pool = Pool(family=FAMILY, size=1)
        self._moving.weights(pool, self._tick).materialise_(np.zeros(1, np.int64))
