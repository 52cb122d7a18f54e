"""Metrics of an aggregator: updates, rounds, the ledger and where it stands."""

import math
from collections.abc import Mapping, Sequence
from typing import get_args

from fedkseed.messages import Outcome
from fedkseed.metrics.buckets import BATCHES, BRIEF_SECONDS, BYTES, LONG_SECONDS, STALENESS, WEIGHTS
from fedkseed.metrics.registry import Registry

OUTCOMES: tuple[str, ...] = get_args(Outcome)
PARTS = ("first_update", "goal", "commit", "announce")
KINDS: tuple[str, ...] = ("round", "measured", "rollback", "forget", "voided")
STATISTICS = ("min", "mean", "max")
STATES = ("open", "paused", "closed")


class UpdateMetrics:
    """What becomes of updates."""

    def __init__(self, registry: Registry) -> None:
        self._outcomes = registry.counter(
            "updates_total", "Updates by outcome; a duplicate was decided before.", outcome=(*OUTCOMES, "duplicate")
        )
        self._staleness = registry.spread("update_staleness_versions", "Staleness of the updates that count.", STALENESS)
        self._weights = registry.spread("update_weight", "Weight (omega) of the updates that count.", WEIGHTS)
        self._latency = registry.spread(
            "update_latency_seconds", "From the opening of the round an update answers to its fold.", LONG_SECONDS
        )
        self._batch = registry.histogram("update_batch_size", "Updates decided in one transaction.", BATCHES)

    def arrived(self, updates: int) -> None:
        """So many updates are decided together."""
        self._batch.observe(updates)

    def decided(self, outcomes: Mapping[str, int]) -> None:
        """So many updates have an outcome, or a second one: voided."""
        for outcome, updates in outcomes.items():
            self._outcomes.labels(outcome).inc(updates)

    def counted(self, *, staleness: Sequence[int], weights: Sequence[int], seconds: Sequence[float]) -> None:
        """Updates count, so long after their round was opened, where that is known."""
        self._staleness.observe(staleness)
        self._weights.observe(weights)
        self._latency.observe(seconds)


class RoundMetrics:
    """How rounds go."""

    def __init__(self, registry: Registry) -> None:
        self._commits = registry.counter("commits_total", "Versions made, by what made them.", kind=KINDS)
        self._extended = registry.counter("round_extensions_total", "Times that a round was announced once more.")
        self._duration = registry.histogram("round_duration_seconds", "From opening a round to its commit.", LONG_SECONDS)
        self._parts = registry.histogram(
            "round_part_seconds",
            "Parts of a round: until the first update, from there to the goal, the closing transaction, "
            "from the commit to the confirmed announcement of the next round.",
            LONG_SECONDS,
            part=PARTS,
        )
        self._members = registry.gauge("last_round_members", "Updates of the last closed round.")
        self._bytes = registry.spread(
            "round_client_bytes",
            "Bytes of a closed round for each of its clients: announcement, update, receipt, framed.",
            BYTES,
        )
        self._last_bytes = registry.gauge("last_round_client_bytes", "The same of the last closed round.", statistic=STATISTICS)
        for statistic in STATISTICS:
            self._last_bytes.labels(statistic).set(math.nan)

    def committed(self, kind: str) -> None:
        """There is a new version."""
        self._commits.labels(kind).inc()

    def extended(self) -> None:
        """A round goes on with another attempt."""
        self._extended.inc()

    def closed(self, *, members: int, seconds: float | None) -> None:
        """A round has ended with so many updates, so long after it was opened, where that is known."""
        self._members.set(members)
        if seconds is not None:
            self._duration.observe(seconds)

    def part(self, part: str, seconds: float) -> None:
        """A part of a round has ended."""
        self._parts.labels(part).observe(seconds)

    def cost(self, sizes: Sequence[int]) -> None:
        """A closed round took so many bytes of each client; there is at least one."""
        self._bytes.observe(sizes)
        for statistic, value in zip(STATISTICS, (min(sizes), sum(sizes) / len(sizes), max(sizes)), strict=True):
            self._last_bytes.labels(statistic).set(value)


class StandingMetrics:
    """Where the ledger stands."""

    def __init__(self, registry: Registry) -> None:
        gauge = registry.gauge
        self._version = gauge("version", "The newest version.")
        self._announced = gauge("announced_version", "The newest version that was announced; -1 before the first.")
        self._state = gauge("state", "1 for what the federation is, 0 for what it is not.", state=STATES)
        self._attempt = gauge("round_attempt", "The attempt of the open round, from 0.")
        self._members = gauge("round_members", "Updates of the open round.")
        self._cohort = gauge("round_cohort", "Updates that close it.")
        self._minimum = gauge("round_minimum", "Updates that are enough at its deadline.")
        self._opened = gauge("round_opened_timestamp_seconds", "When its newest attempt was opened.")
        self._deadline = gauge("round_deadline_timestamp_seconds", "When its time is up.")
        self._committed = gauge("last_commit_timestamp_seconds", "When the newest version was made.")
        self._committed.set(math.nan)
        self._quarantined = gauge("quarantined_clients", "Clients whose updates are refused by rule.")
        self._suspicion = gauge("suspicion_pairs", "The largest suspicion of a client that is not quarantined.")
        self._entropy = gauge("importance_entropy_nats", "Entropy of the probabilities that seeds are drawn with.")
        self._ratio = gauge("importance_entropy_ratio", "The same as a share of log K: 1 where all seeds are equally likely.")
        self._top = gauge("importance_top_ratio", "Probability of the most likely hundredth of the seeds, together.")

    def stands(self, *, version: int, announced: int, state: str) -> None:
        """The ledger is at a version, announced up to another."""
        self._version.set(version)
        self._announced.set(announced)
        for each in STATES:
            self._state.labels(each).set(each == state)

    def committed(self, at: float) -> None:
        """The newest version was made at a unix time."""
        self._committed.set(at)

    def round(self, *, attempt: int, members: int, cohort: int, minimum: int, opened: float, deadline: float) -> None:
        """The open round has come so far."""
        self._attempt.set(attempt)
        self._members.set(members)
        self._cohort.set(cohort)
        self._minimum.set(minimum)
        self._opened.set(opened)
        self._deadline.set(deadline)

    def robust(self, *, quarantined: int, suspicion: float) -> None:
        """So many clients are excluded, and so much is the most suspicious of the others suspected."""
        self._quarantined.set(quarantined)
        self._suspicion.set(suspicion)

    def importance(self, *, entropy: float, ratio: float, top: float) -> None:
        """Seeds are drawn with other probabilities."""
        self._entropy.set(entropy)
        self._ratio.set(ratio)
        self._top.set(top)


class LedgerMetrics:
    """The store of the ledger, as an aggregator sees it."""

    def __init__(self, registry: Registry) -> None:
        self._seconds = registry.histogram(
            "ledger_transaction_seconds", "Time of a transaction, races included.", BRIEF_SECONDS
        )
        self._conflicts = registry.counter("ledger_conflicts_total", "Attempts that lost a race against another writer.")
        self._unreachable = registry.counter("ledger_unreachable_total", "Attempts that the ledger's store did not answer.")
        self._up = registry.gauge("ledger_up", "Whether it answered the last time.")

    def transacted(self, seconds: float, attempts: int) -> None:
        """A change was made, by so many attempts."""
        self._seconds.observe(seconds)
        self._conflicts.inc(attempts - 1)

    def answered(self) -> None:
        """The store answers."""
        self._up.set(1)

    def unreachable(self) -> None:
        """The store does not answer."""
        self._up.set(0)
        self._unreachable.inc()
