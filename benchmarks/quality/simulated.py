"""FedKSeed, as published and as it is here: the product itself, in its simulator.

As published (Qin et al. 2024): Gaussian directions, synchronous rounds, all parameters; with importance it is FedKSeed-Pro.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.quality.experiments import Run, Schedule
from benchmarks.quality.journal import Journal, Plain
from benchmarks.quality.moving import Following, Moving
from benchmarks.quality.records import Point, Result
from benchmarks.quality.stage import Stage
from fedkseed import llm, model, workbench
from fedkseed.ledger.operate import set_policy
from fedkseed.pool import importance
from fedkseed.zo.estimator import batch_count, evaluations
from fedkseed_client import training
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_evaluator.machine import Evaluate, Evaluated
from fedkseed_simulator.facts import Fact, Outcome, RoundClosed, Scored, UpdateDecided
from fedkseed_simulator.simulation import Simulation

LEAST = 0.01  # of a rate: none is not allowed
POINTS = 128  # of a distribution of probabilities that is kept


def fedkseed(run: Run, journal: Journal) -> Result:
    """Simulate a federation, from where it was stopped."""
    party = Party(run, journal)
    outcome = party.simulate()
    return Result(curve=party.curve(outcome), trained=party.trained, dtype=party.stage.dtype_name, notes=_notes(outcome, run))


class Party:
    """All clients and the evaluator on one working model, and a rate that follows a schedule."""

    def __init__(self, run: Run, journal: Journal) -> None:
        self._run, self._federation, self._journal = run, run.federation, journal
        self.stage = Stage(self._federation, run.dtype)
        base = self.stage.base
        self._genesis = model.found(self._federation, base)
        sizes = (p.numel() for p in base.parameters.values())
        self.trained = sum(sizes) if base.support is None else sum(len(positions) for positions in base.support.values())
        if base.support is None and self._federation.pool.family != "hadamard":
            moving = Moving(base, self.stage.dtype, self.stage.device)
            self._weights: Any = Following(moving, self._federation.pool, self._genesis.tick)
            self._reader = self.stage.reader
        else:
            bench = workbench.set_up(self._genesis, base, dtype=self.stage.dtype)
            self._weights, self._reader = bench.weights, bench.reader
        self._updates = 0
        self._scores: list[tuple[Scored, int]] = []  # and how many updates had come by then

    def simulate(self) -> Outcome:
        """Carry it out."""
        self._simulation = Simulation(
            federation=self._federation,
            genesis_bytes=self._genesis.encode(),
            clients={name: len(examples) for name, examples in self.stage.clients.items()},
            train=self._train,
            score=self._score,
            observe=self._observe,
        )
        return self._simulation.run()

    def curve(self, outcome: Outcome) -> tuple[Point, ...]:
        """Scores, beside what clients had spent."""
        training = self._federation.training
        passes, spent = self._passes(), _bytes_before(outcome)
        return tuple(
            Point(
                version=scored.version,
                seconds=scored.at_seconds,
                updates=updates,
                forwards=round(training.batch * passes * updates),
                bytes=spent(scored.version),
                metrics=dict(scored.metrics),
            )
            for scored, updates in self._scores
        )

    def _passes(self) -> float:
        """Forward passes of a batch that an update takes; layers that are computed once for a batch count once."""
        training, trunk = self._federation.training, self._reader.trunk
        passes = evaluations(training.steps, training.directions_per_batch)
        if trunk is None:
            return passes
        kept = len(trunk.layers) / len(llm.parts(self.stage.base.model)[1])
        return passes - kept * (passes - batch_count(training.steps, training.directions_per_batch))

    def _train(self, client: str, assignment: Assignment) -> Trained:
        key = (self.stage.dtype_name, client, assignment.base, assignment.round.attempt)
        return Trained(**self._journal.once(key, lambda: self._measured(client, assignment)))

    def _measured(self, client: str, assignment: Assignment) -> Plain:
        measured = training.measure(
            assignment,
            weights=self._weights,
            prepare=self._reader.prepare,
            loss=self._reader.mean_loss,
            examples=self.stage.clients[client],
            generator=training.generator(self._run.seed, client, assignment.base),
        )
        return asdict(training.told(assignment, measured, seconds=0.0))

    def _score(self, effect: Evaluate) -> Evaluated:
        metrics = self._journal.once((self.stage.dtype_name, effect.version), lambda: self._scored(effect))
        return Evaluated(version=effect.version, metrics=metrics, examples=len(self.stage.dataset.held_out), seconds=0.0)

    def _scored(self, effect: Evaluate) -> Plain:
        self._weights.materialise_(effect.coefficients)
        return dict(self.stage.score())

    def _observe(self, fact: Fact) -> None:
        match fact:
            case UpdateDecided():
                self._updates += 1
            case Scored():
                self._scores.append((fact, self._updates))
            case RoundClosed() if self._run.schedule != "constant":
                self._set_rate(fact.version + 1)

    def _set_rate(self, version: int) -> None:
        """Have the round at `version` announce the rate of the schedule; the one before has been announced already.

        So the first two rounds have the rate of the files.
        """
        policy, total = self._federation.policy, self._federation.rounds.total or 1
        lr = policy.training.lr * factor(self._run.schedule, version / total)
        scheduled = replace(policy, training=replace(policy.training, lr=lr))
        self._simulation.operate(lambda head, now: set_policy(head, scheduled, now))


def factor(schedule: Schedule, progress: float) -> float:
    """A schedule's factor on the learning rate, when a share `progress` of the versions has been made."""
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return max(LEAST, 1 - progress)
        case "cosine":
            return max(LEAST, (1 + math.cos(math.pi * progress)) / 2)


def _bytes_before(outcome: Outcome) -> Callable[[int], int]:
    """How many bytes clients had sent and received before a version was made."""
    sizes: Counter[int] = Counter()
    for flow in outcome.flows:
        if flow.participant in outcome.slowness:
            sizes[flow.version] += flow.size
    return lambda version: sum(size for made, size in sizes.items() if made < version)


def _notes(outcome: Outcome, run: Run) -> dict[str, Any]:
    head = outcome.head
    notes: dict[str, Any] = {
        "outcomes": dict(outcome.outcomes),
        "staleness": {str(staleness): count for staleness, count in sorted(outcome.staleness.items())},
        "members": [len(closed.commit.members) for closed in outcome.rounds],
        "state": head.digest.hex(),
    }
    if run.federation.training.importance:
        odds = importance.probabilities(importance.levels(head.importance_sums, head.importance_counts))
        ordered = np.sort(odds * len(odds))[::-1]
        kept = ordered[np.linspace(0, len(ordered) - 1, min(POINTS, len(ordered))).astype(int)]
        notes["importance"] = [round(float(value), 4) for value in kept]
    return notes
