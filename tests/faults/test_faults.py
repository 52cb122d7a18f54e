"""A short, seeded version of the fault report: every promise is kept while services and servers fail."""

from benchmarks.faults.inject import FAULTS
from benchmarks.faults.run import run
from benchmarks.faults.schedule import schedule
from benchmarks.faults.world import Setting

SHORT = (
    "aggregator killed",
    "all aggregators killed",
    "crash half-a-close",
    "crash before-announcement",
    "crash before-acknowledgement",
    "client killed",
    "redis killed",
    "redis clock ahead",
    "redis backup restored",
    "all nodes killed",
    "cut client-broker",
    "broker short of memory",
    "queue of updates full",
)
FELT = (
    "load disconnected",
    "load blocked",
    "load refused by a full queue",
    "aggregator disconnected",
    "aggregator blocked",
    "aggregator waiting for the ledger",
)
SMALL = Setting(loads=1, clients=600, rate=100.0, cohort=60, minimum=10, deadline_seconds=4.0, seed=5)


def test_every_promise_is_kept_while_everything_fails(broker, tmp_path):
    planned = [plan for plan, _ in zip(schedule(SMALL.seed, dict.fromkeys(SHORT, 1)), SHORT, strict=False)]
    faults = {kind: FAULTS[kind][1] for kind in SHORT}
    outcome = run(tmp_path / "world", SMALL, broker, iter(planned), faults, seconds=600)
    verdict = outcome.verdict
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == (0, 0, 0), verdict.named
    assert verdict.coefficients
    assert outcome.verified
    assert [fault.failed for fault in outcome.played] == [""] * len(SHORT)
    assert outcome.good
    assert outcome.dead == 0
    assert all(outcome.heard[what] > 0 for what in FELT), outcome.heard
    assert verdict.counted > len(SHORT) * SMALL.cohort  # it was at work all the time
    assert sorted(fault.kind for fault in outcome.played) == sorted(SHORT)
