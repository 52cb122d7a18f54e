"""The parts of the fault report that need no processes: journals, schedules, weather, the page."""

from collections import Counter
from itertools import islice
from random import Random

import pytest

from benchmarks.faults import report
from benchmarks.faults.checker import Verdict
from benchmarks.faults.inject import FAULTS
from benchmarks.faults.journal import Journal, Record, lives, read
from benchmarks.faults.run import Outcome, Played, percentile
from benchmarks.faults.schedule import schedule
from benchmarks.faults.world import Setting
from benchmarks.wires import FAIR, Weather

WEIGHTS = {kind: weight for kind, (weight, _) in FAULTS.items()}
SENT = Record(kind="sent", at=1.5, client="ann", base=3, body=b"numbers")
CONFIRMED = Record(kind="confirmed", at=2.5, client="ann", base=3)


def test_a_journal_is_read_as_it_was_written_over_several_lives(tmp_path):
    for records in ((SENT,), (CONFIRMED, SENT)):
        journal = Journal(tmp_path)
        journal.write(*records)
        journal.close()
    assert list(read(tmp_path)) == [SENT, CONFIRMED, SENT]


def test_a_record_that_was_cut_off_is_not_there(tmp_path):
    journal = Journal(tmp_path)
    journal.write(CONFIRMED, SENT)
    journal.close()
    (path,) = lives(tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert list(read(tmp_path)) in ([], [CONFIRMED])
    next_life = Journal(tmp_path)
    next_life.write(SENT)
    next_life.close()
    assert list(read(tmp_path)) == [CONFIRMED, SENT]


def test_a_seed_gives_the_same_faults_again():
    first, again, other = (list(islice(schedule(seed, WEIGHTS), 100)) for seed in (1, 1, 2))
    assert first == again != other


def test_every_deck_has_every_kind_as_often_as_its_weight_says():
    size = sum(WEIGHTS.values())
    planned = list(islice(schedule(1, WEIGHTS), 2 * size))
    assert Counter(plan.kind for plan in planned[:size]) == Counter(plan.kind for plan in planned[size:]) == WEIGHTS
    assert [plan.number for plan in planned] == list(range(2 * size))


def test_ten_minutes_can_hold_every_kind():
    assert 40 <= len(FAULTS) <= sum(WEIGHTS.values()) <= 65


def test_fair_weather_delays_nothing_and_foul_weather_what_it_says():
    dice = Random(0)
    assert FAIR.seconds(dice) == 0
    slow = [Weather(delay_seconds=1.0, jitter_seconds=0.5).seconds(dice) for _ in range(100)]
    assert 1.0 <= min(slow) < max(slow) <= 1.5
    assert Weather(lost=1.0).seconds(dice) == pytest.approx(0.2 + 0.4 + 0.8 + 1.6)


def test_percentiles_are_values_that_occurred():
    assert percentile([], 0.5) is None
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 2.0, 3.0, 3.0]


def outcome(*, lost=0, **changes) -> Outcome:
    verdict = Verdict(
        attempts=9,
        acknowledged=8,
        counted=7,
        refused={"stale": 1},
        lost=lost,
        duplicated=0,
        unexpected=0,
        recovered=0,
        unknown=1,
        untold=0,
        versions=2,
        coefficients=True,
        named={},
    )
    fault = Played(number=0, kind="redis killed", target="redis", at=1.0, lasted=2.0, recovered=0.5, paused=2.5)
    plain = {
        "minutes": 1.1,
        "planned_minutes": 1.0,
        "nodes": 3,
        "played": [fault],
        "verified": True,
        "exits": {},
        "accepted": [],
        "dead": 0,
        "heard": {"load blocked": 3},
    }
    return Outcome(setting=Setting(seed=4), verdict=verdict, **(plain | changes))


def test_the_page_says_what_came_of_it():
    page = report.page(outcome())
    assert "1 faults of 1 kinds in 1.1 minutes: every promise was kept." in page
    assert "| **lost** | 0 |" in page
    assert "| load blocked | 3 |" in page
    assert "| redis killed | 1 | 0.5 s | 0.5 s | 2.5 s |" in page
    assert "--minutes 1 --seed 4" in page


@pytest.mark.parametrize(
    "broken",
    [
        {"lost": 1},
        {"verified": False},
        {"accepted": ["redis backup restored"]},
        {"played": [Played(number=0, kind="x", target="", at=0.0, lasted=0.0, recovered=None, paused=9.0)]},
    ],
    ids=["lost", "unverified", "accepted", "not recovered"],
)
def test_a_broken_promise_is_said_and_is_not_good(broken):
    result = outcome(**broken)
    assert not result.good
    assert not result.record()["good"]
    assert "**a promise was broken**" in report.page(result)
