"""Metrics of clients and evaluators: following, training, scoring."""

import math
from collections.abc import Mapping
from typing import get_args

from fedkseed.messages import Outcome
from fedkseed.metrics.buckets import BRIEF_SECONDS, LONG_SECONDS
from fedkseed.metrics.registry import Registry

SCORES = ("loss", "accuracy", "rouge_l")
OUTCOMES: tuple[str, ...] = get_args(Outcome)


class FollowingMetrics:
    """Of a copy of the ledger."""

    def __init__(self, registry: Registry) -> None:
        self._version = registry.gauge("held_version", "The version that is held and verified; -1 for none.")
        self._version.set(-1)
        self._catch_ups = registry.counter(
            "catch_ups_total", "Times that another version was reached, by what led there.", by=("delta", "snapshot")
        )
        self._mismatches = registry.counter("digest_mismatches_total", "Copies that were discarded: their digest was wrong.")

    def holds(self, version: int) -> None:
        """A version is held; -1: none is."""
        self._version.set(version)

    def caught_up(self, by: str) -> None:
        """Another version was reached."""
        self._catch_ups.labels(by).inc()

    def mismatched(self) -> None:
        """A copy was discarded."""
        self._mismatches.inc()


class TrainingMetrics:
    """Of a client's training, and of what becomes of it."""

    def __init__(self, registry: Registry) -> None:
        self._step = registry.histogram(
            "train_step_seconds",
            "A batch's time in forward passes, two with one direction, and in writing the perturbed weights of each.",
            BRIEF_SECONDS,
            part=("forward", "materialise"),
        )
        self._steps = registry.counter("train_steps_total", "Local steps of trainings that came to their end.")
        self._skipped = registry.counter("train_steps_skipped_total", "Those of them that gave no usable scalar.")
        self._seconds = registry.histogram("training_seconds", "Time of a training that came to its end.", LONG_SECONDS)
        self._loss = registry.gauge("training_loss", "Mean loss of the last training.")
        self._loss.set(math.nan)
        self._active = registry.gauge("training_active", "Whether something is being trained.")
        self._ends = registry.counter(
            "trainings_total", "Trainings by how they ended.", end=("trained", "abandoned", "declined")
        )
        self._quarantined = registry.gauge(
            "training_quarantined", "Whether its updates are refused, so that it trains no more."
        )
        self._receipts = registry.counter(
            "receipts_total", "Receipts by outcome; one that comes again counts again.", outcome=OUTCOMES
        )
        self._latency = registry.histogram(
            "receipt_latency_seconds", "From publishing an update to its receipt.", BRIEF_SECONDS
        )

    def stepped(self, forward_seconds: float, materialise_seconds: float) -> None:
        """A batch was measured."""
        self._step.labels("forward").observe(forward_seconds)
        self._step.labels("materialise").observe(materialise_seconds)

    def began(self) -> None:
        """A training has begun."""
        self._active.set(1)

    def trained(self, *, steps: int, skipped: int, seconds: float, loss: float) -> None:
        """A training has come to its end."""
        self._ended("trained")
        self._steps.inc(steps)
        self._skipped.inc(skipped)
        self._seconds.observe(seconds)
        self._loss.set(loss)

    def abandoned(self) -> None:
        """A training was given up."""
        self._ended("abandoned")

    def quarantined(self) -> None:
        """Updates are refused: nothing is trained any more."""
        self._quarantined.set(1)

    def declined(self) -> None:
        """The trainer did not take an assignment."""
        self._ended("declined")

    def receipt(self, outcome: str, seconds: float | None) -> None:
        """A receipt came, so long after its update was published, where that is known."""
        self._receipts.labels(outcome).inc()
        if seconds is not None:
            self._latency.observe(seconds)

    def _ended(self, end: str) -> None:
        self._active.set(0)
        self._ends.labels(end).inc()


class ScoreMetrics:
    """Of the newest version that was scored; an aggregator knows them from evaluators."""

    def __init__(self, registry: Registry) -> None:
        self._score = registry.gauge("evaluation_score", "Scores of the newest version that was scored.", metric=SCORES)
        for metric in SCORES:
            self._score.labels(metric).set(math.nan)
        self._version = registry.gauge("evaluated_version", "The version that has them; -1 for none.")
        self._version.set(-1)

    def scored(self, version: int, metrics: Mapping[str, float]) -> None:
        """A version was scored; a metric that is not one of ours is left out."""
        self._version.set(version)
        for metric in SCORES:
            if metric in metrics:
                self._score.labels(metric).set(metrics[metric])


class ScoringMetrics:
    """Of an evaluator's work."""

    def __init__(self, registry: Registry) -> None:
        self._seconds = registry.histogram("evaluation_seconds", "Time to rebuild and score a version.", LONG_SECONDS)

    def took(self, seconds: float) -> None:
        """A version was scored in so long."""
        self._seconds.observe(seconds)
