"""The schedule of experiments: what a run is, how its rate is chosen, and that what has a record is not run again."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.quality import estimate, experiments, records, runner
from benchmarks.quality.experiments import Experiment, Row, merged
from benchmarks.quality.runner import METHODS, Schedule
from benchmarks.quality.simulated import factor
from benchmarks.quality.together import Wish, together

PLAIN = {
    "name": "toy",
    "model": {"base": "base", "support": "support"},
    "objective": {"kind": "label-words", "words": ["terrible", "great"]},
    "data": {"train": "train.jsonl", "held_out": "held_out.jsonl", "partition": {"by": "field", "field": "who"}},
    "rounds": {"total": 4},
}
TOML = """
name = "toy"
model = { base = "base", support = "support" }
objective = { kind = "label-words", words = ["terrible", "great"] }
data = { train = "train.jsonl", held_out = "held_out.jsonl", partition = { by = "field", field = "who" } }
rounds = { total = 4 }
"""
PARENT = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from benchmarks.quality.together import end_with_parent
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
    pool.submit(print, "at work", flush=True).result()
    pool.submit(time.sleep, 600).result()
"""
ROWS = (
    Row(name="searched", method="fedkseed", rates=(1e-4, 1e-3, 1e-2)),
    Row(name="borrowed", method="fedavg", rate_of="toys/searched"),
    Row(name="stated", method="fedkseed", federation={"training": {"lr": 0.5}}, seeds=(7,)),
)
TOYS = Experiment(name="toys", question="?", text="", base="toy.toml", seeds=(1, 2), order=1, rows=ROWS)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toy.toml").write_text(TOML)
    return tmp_path


def labels(schedule, found):
    return [f"{entry.row.name} {entry.run.seed}" for entry in schedule.entries(found)]


def told(run, loss):
    point = {"version": 1, "metrics": {"loss": loss}}
    return {"digest": run.digest, "curve": [point], "wall_seconds": 1.0}


def best_at(rate):
    """A method whose loss is the lower, the nearer its rate is to another one; it writes down what it was asked for."""
    asked = []

    def carry(run, folder):
        asked.append(run)
        told_ = told(run, abs(run.federation.training.lr - rate))
        records.write(folder, run.name, told_)
        return told_

    return carry, asked


def test_all_experiments_can_be_read_and_have_methods():
    described = experiments.read()
    assert [one.order for one in described] == list(range(1, len(described) + 1))
    for experiment, row, seed in experiments.every(described):
        assert experiments.run(experiment, row, seed).method in METHODS


def test_rates_are_borrowed_from_rows_that_search_for_them():
    list(Schedule(experiments.read()).entries({}))


def test_no_run_that_is_reported_has_the_seed_of_trials():
    assert all(seed != experiments.SEARCH_SEED for _, _, seed in experiments.every(experiments.read()))


def test_a_table_is_merged_unless_it_says_that_it_is_of_another_kind():
    changed = merged(PLAIN, {"rounds": {"cohort": 2}, "data": {"partition": {"by": "iid", "clients": 3}}})
    assert changed["rounds"] == {"total": 4, "cohort": 2}
    assert changed["data"]["partition"] == {"by": "iid", "clients": 3}
    assert changed["data"]["train"] == "train.jsonl"
    assert PLAIN["rounds"] == {"total": 4}


def test_an_empty_support_means_all_parameters(folder):
    full = Row(name="full", method="fedkseed", federation={"model": {"support": ""}})
    assert experiments.run(TOYS, ROWS[0], 1, folder).federation.model.support.endswith("support")
    assert experiments.run(TOYS, full, 1, folder).federation.model.support is None


def test_paths_of_records_are_not_those_of_a_machine(folder):
    described = experiments.run(experiments.read()[0], experiments.read()[0].rows[0], 1).federation
    assert described.data.train == ".cache/quality/sentiment/train.jsonl"


def test_the_digest_is_that_of_method_settings_and_seed(folder):
    run, again = (experiments.run(TOYS, ROWS[0], 1, folder) for _ in range(2))
    others = [experiments.run(TOYS, ROWS[0], 2, folder), experiments.at_rate(run, 0.1)]
    others += [replace(run, schedule="cosine"), replace(run, dtype="float32"), replace(run, dtype="bfloat16")]
    assert run.digest == again.digest
    assert len({run.digest, *(other.digest for other in others)}) == 6


def test_a_schedule_is_refused_where_nothing_follows_it(folder):
    with pytest.raises(ValueError, match='schedule "cosine": fedavg keeps its rate'):
        experiments.run(TOYS, replace(ROWS[1], schedule="cosine"), 1, folder)


def test_the_first_seed_of_all_rows_comes_first(folder):
    schedule = Schedule((TOYS,), folder)
    assert labels(schedule, {}) == ["searched 1", "borrowed 1", "stated 7", "searched 2", "borrowed 2"]


def test_trials_are_shorter_and_see_neither_held_out_examples_nor_a_reported_seed(folder):
    entry = next(Schedule((TOYS,), folder).entries({}))
    assert list(entry.trials) == [1e-4, 1e-3, 1e-2]
    for rate, trial in entry.trials.items():
        assert trial.federation.training.lr == rate
        assert trial.federation.rounds.total == 2
        assert trial.federation.data.held_out.endswith("validation.jsonl")
        assert trial.seed == experiments.SEARCH_SEED


def test_the_rate_with_the_lowest_loss_is_chosen_once_all_are_known(folder):
    trials = next(Schedule((TOYS,), folder).entries({})).trials
    losses = {1e-4: 0.7, 1e-3: 0.5, 1e-2: float("nan")}
    found = {run.digest: told(run, losses[rate]) for rate, run in trials.items()}
    assert runner.chosen(trials, found) == 1e-3
    found.popitem()
    assert runner.chosen(trials, found) is None
    assert runner.chosen({}, {}) is None


def test_everything_is_run_once_and_at_the_rate_that_was_chosen(folder):
    schedule, said = Schedule((TOYS,), folder), []
    carry, asked = best_at(1e-3)
    runner.work(schedule, folder / "records", lambda _: True, said.append, carry)
    assert len(asked) == len({run.digest for run in asked}) == 3 + 5
    assert [run.federation.training.lr for run in asked[:4]] == [1e-4, 1e-3, 1e-2, 1e-3]
    results = runner.results(schedule, records.read(folder / "records"))
    assert {name: len(found) for name, found in results.items()} == {"toys/searched": 2, "toys/borrowed": 2, "toys/stated": 1}

    carry, again = best_at(1e-3)
    runner.work(schedule, folder / "records", lambda _: True, said.append, carry)
    assert again == []


def test_a_run_that_was_stopped_goes_on_where_it_was(folder):
    schedule = Schedule((TOYS,), folder)
    carry, asked = best_at(1e-3)

    def failing(run, where):
        if len(asked) == 4:
            raise KeyboardInterrupt
        return carry(run, where)

    with pytest.raises(KeyboardInterrupt):
        runner.work(schedule, folder / "records", lambda _: True, lambda _: None, failing)
    rest, asked_later = best_at(1e-3)
    runner.work(schedule, folder / "records", lambda _: True, lambda _: None, rest)
    assert len(asked) + len(asked_later) == 8


def test_a_run_that_another_process_has_begun_is_left_to_it(folder):
    schedule, where = Schedule((TOYS,), folder), folder / "records"
    where.mkdir()
    begun = next(iter(next(schedule.entries({})).trials.values()))
    carry, asked = best_at(1e-3)
    with records.claimed(where, begun.name) as ours:
        assert ours
        runner.work(schedule, where, lambda _: True, lambda _: None, carry)
    assert begun.digest not in {run.digest for run in asked}
    assert {run.seed for run in asked} == {experiments.SEARCH_SEED, 7}  # what waits for its rate is not run
    runner.work(schedule, where, lambda _: True, lambda _: None, carry)
    assert len(asked) == 8
    assert not list(where.glob("*.lock"))


def test_two_rows_with_the_same_settings_are_one_run(folder):
    twice = replace(TOYS, rows=(ROWS[2], replace(ROWS[2], name="the same")))
    carry, asked = best_at(0.0)
    runner.work(Schedule((twice,), folder), folder / "records", lambda _: True, lambda _: None, carry)
    assert len(asked) == 1


def test_a_row_whose_trials_are_missing_has_no_result(folder):
    schedule = Schedule((TOYS,), folder)
    found = {entry.run.digest: told(entry.run, 1.0) for entry in schedule.entries({})}
    assert list(runner.results(schedule, found)) == ["toys/stated"]


def test_miniatures_of_everything_take_less_than_a_quarter_of_an_hour():
    schedule = Schedule(experiments.first_seeds(experiments.read()), change=estimate.miniature, searching=False)
    runs = {entry.run.digest: entry.run for entry in schedule.entries({})}
    assert sum(map(estimate.seconds, runs.values())) < 15 * 60


def test_schedules_begin_at_the_rate_and_end_above_nothing():
    for schedule in ("constant", "linear", "cosine"):
        assert factor(schedule, 0.0) == 1.0
        assert factor(schedule, 1.0) > 0
    assert factor("linear", 0.25) == 0.75
    assert factor("cosine", 0.5) == pytest.approx(0.5)


def test_a_record_is_written_whole(tmp_path):
    records.write(tmp_path, "one", {"digest": "d"})
    assert json.loads((tmp_path / "one.json").read_text()) == {"digest": "d"}
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_what_is_wanted_is_named_by_experiment_or_row_and_by_seed(folder):
    entries = list(Schedule([TOYS], folder).entries({}))

    def wanted(*only, seed=None):
        wish = Wish(only, seed, quick=False)
        return [f"{entry.row.name} {entry.run.seed}" for entry in entries if wish.wants(entry)]

    assert len(wanted()) == len(wanted("toys")) == 5
    assert wanted("toys/searched") == ["searched 1", "searched 2"]
    assert wanted("toys/searched", "toys/stated", seed=1) == ["searched 1"]
    assert wanted("others") == []


def test_several_processes_share_what_is_wanted_and_a_failure_of_one_is_told(tmp_path):
    together(2, Wish(("nothing",), None, quick=True), tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "not-a-record.json").write_text("{}")
    with pytest.raises(KeyError):
        together(2, Wish(("nothing",), None, quick=True), tmp_path)


def test_who_carries_out_runs_ends_with_whoever_asked_for_them():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "at work\n"
        parent.kill()
        assert parent.communicate(timeout=60) == ("", None)  # the end of what its child could write as well
