"""What the field does instead: synchronous rounds in which clients train from shared values, and the results are averaged.

McMahan et al. 2017, Algorithm 1: of each round's clients a weighted mean, by how many examples they hold. What is shared
differs: all weights (FedAvg), adapters of low rank (FedIT), weights that were moved along fresh directions (FedZO).
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from benchmarks.quality.experiments import Run
from benchmarks.quality.records import Point, Result
from benchmarks.quality.stage import BYTES_OF_A_WEIGHT, Stage
from fedkseed import llm
from fedkseed.ledger.invitation import invited
from fedkseed.objectives import Encoded
from fedkseed_client import training


class Learner(Protocol):
    """One method, between the rounds of a federation."""

    trained: int  # parameters, all of which travel
    passes: int  # forward-equivalents of a step, for one example

    def learn(self, batches: Sequence[Sequence[Encoded]], share: float, chance: int) -> None:
        """Train one client from the shared values, and note what it came to with its share of the mean.

        Args:
            batches: one a step.
            share: of all shares of the round, which add up to 1.
            chance: 64 bits of this client and version.
        """

    def fold(self) -> None:
        """Make the mean of what was noted the shared values."""


def averaged(run: Run, stage: Stage, learner: Learner) -> Result:
    """Carry out the rounds of a run."""
    federation, total = run.federation, run.federation.rounds.total or 1
    updates, curve = 0, [_point(stage, learner, 0, 0)]
    for version in range(1, total + 1):
        cohort = _cohort(run, version, list(stage.clients))
        _round(run, stage, learner, cohort, version)
        updates += len(cohort)
        if version % federation.evaluation.every == 0 or version == total:
            curve.append(_point(stage, learner, version, updates))
    return Result(curve=tuple(curve), trained=learner.trained, dtype=stage.dtype_name)


def _round(run: Run, stage: Stage, learner: Learner, cohort: Sequence[str], version: int) -> None:
    together = sum(len(stage.clients[client]) for client in cohort)
    plan = run.federation.training
    for client in cohort:
        examples = stage.clients[client]
        dice = training.generator(run.seed, client, version)
        batches = list(training.batches(examples, plan.steps, plan.batch, dice))
        learner.learn(batches, len(examples) / together, int(dice.integers(2**63)))
    learner.fold()


def _cohort(run: Run, version: int, clients: Sequence[str]) -> list[str]:
    """Who is invited, as the product draws it; somebody always is."""
    for attempt in range(1000):
        nonce = hashlib.sha256(np.array([run.seed, version, attempt], "<u4").tobytes()).digest()[:8]
        if cohort := [client for client in clients if invited(nonce, client, run.federation.rounds.participation)]:
            return cohort
    raise AssertionError("nobody is ever invited")


def _point(stage: Stage, learner: Learner, version: int, updates: int) -> Point:
    """Scores and cost; a client receives and sends all that is shared."""
    plan = stage.federation.training
    return Point(
        version=version,
        seconds=float(version * plan.steps) * stage.federation.simulation.step_seconds,
        updates=updates,
        forwards=learner.passes * plan.batch * plan.steps * updates,
        bytes=2 * BYTES_OF_A_WEIGHT * learner.trained * updates,
        metrics=stage.score(),
    )


def zero_shot(run: Run) -> Result:
    """The base as it is: nothing is trained, nothing travels."""
    stage = Stage(run.federation, run.dtype)
    llm.compute_in_(stage.shown(), stage.dtype)
    point = Point(version=0, seconds=0.0, updates=0, forwards=0, bytes=0, metrics=stage.score())
    return Result(curve=(point,), trained=0, dtype=stage.dtype_name)
