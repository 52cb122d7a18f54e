"""Every method of the results learns a toy with a tiny random Llama, and counts what it spends."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import recording
from benchmarks.quality import numerics, records, runner
from benchmarks.quality.experiments import Run
from benchmarks.quality.journal import Journal
from fedkseed.federation import Pool
from fedkseed_client import training
from tests.embedded import federation

FULL = {"lr": 4e-3, "eps": 1e-3, "steps": 20, "batch": 12}
RATES = {"fedavg": 5e-3, "fedit": 2e-2, "fedzo": 4e-3, "fedkseed": 4e-3}
CLIENTS, DENSE = 3, {"fedavg", "fedit", "fedzo"}


def carried_out(method, base, folder, lr=None, schedule="constant", **sections):
    training = FULL | ({"lr": lr} if lr else {}) | sections.pop("training", {})
    described = federation(base, folder, training=training, evaluation={"every": 1}, **sections)
    return told(Run(method=method, federation=described, schedule=schedule), folder)


def told(run, folder):
    return runner.METHODS[run.method](run, Journal(folder / run.name))


def losses(result):
    return [point.metrics["loss"] for point in result.curve]


@pytest.mark.parametrize("method", sorted(RATES))
def test_every_method_learns_and_counts_what_it_spends(tiny_base, tmp_path, method):
    result = carried_out(method, tiny_base, tmp_path, RATES[method], pool={"family": "gaussian"})
    assert (result.trained < 3000) is (method == "fedit")  # adapters are few
    assert losses(result)[-1] < 0.95 * losses(result)[0]
    assert [point.version for point in result.curve] == [0, 1, 2, 3]
    last, passes = result.curve[-1], 3 if method in {"fedavg", "fedit"} else 2
    assert last.updates == 3 * CLIENTS
    assert last.forwards == passes * FULL["batch"] * FULL["steps"] * last.updates
    if method in DENSE:
        assert last.bytes == 2 * 2 * result.trained * last.updates
    else:
        assert 0 < last.bytes < 2000 * last.updates


def test_the_base_is_scored_as_every_method_finds_it(tiny_base, tmp_path):
    (alone,) = carried_out("zero-shot", tiny_base, tmp_path).curve
    for method in RATES:
        first = carried_out(method, tiny_base, tmp_path, training={"steps": 1}, rounds={"total": 1}).curve[0]
        assert first.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=2e-3), method


def test_gaussian_weights_that_move_for_good_are_those_of_the_ledger(tiny_base, tmp_path):
    """The product's own simulator rebuilds every version from the base."""
    from fedkseed import data, model
    from fedkseed_simulator.run import Embedded

    described = federation(tiny_base, tmp_path, pool={"family": "gaussian"}, evaluation={"every": 1})
    base = model.open_base(tiny_base)
    exact = Embedded(described, model.found(described, base), base, data.load(described)).simulation(lambda _: None).run()
    moved = told(Run(method="fedkseed", federation=described), tmp_path)
    expected = [score.metrics["loss"] for score in exact.scores]
    assert losses(moved) == pytest.approx(expected, rel=2e-3)


def test_a_schedule_is_announced_and_followed(tiny_base, tmp_path):
    plain, scheduled = (
        carried_out("fedkseed", tiny_base, tmp_path, schedule=schedule, rounds={"total": 6})
        for schedule in ("constant", "cosine")
    )
    assert losses(plain)[:3] == losses(scheduled)[:3]  # the first two rounds were announced before
    assert losses(plain)[3:] != losses(scheduled)[3:]


def test_a_simulation_that_was_stopped_goes_on_where_it_was_and_comes_to_the_same(tiny_base, tmp_path, monkeypatch):
    run = Run(method="fedkseed", federation=federation(tiny_base, tmp_path, training=FULL, evaluation={"every": 1}))
    (tmp_path / "whole").mkdir()
    whole = told(run, tmp_path / "whole")
    measure, measured, most = training.measure, [], CLIENTS + 1

    def counted(assignment, **others):
        if len(measured) == most:
            raise KeyboardInterrupt
        measured.append(assignment.base)
        return measure(assignment, **others)

    monkeypatch.setattr(training, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        told(run, tmp_path)
    most = 3 * CLIENTS
    assert told(run, tmp_path) == whole
    assert measured == [0] * CLIENTS + [1] * CLIENTS + [2] * CLIENTS


def test_importance_is_noted_as_probabilities_in_order(tiny_base, tmp_path):
    described = federation(tiny_base, tmp_path, training={"importance": True})
    odds = told(Run(method="fedkseed", federation=described), tmp_path).notes["importance"]
    assert odds == sorted(odds, reverse=True)
    assert odds[0] > 1 > odds[-1]


def test_half_precision_loses_what_the_ledger_keeps(tiny_base, tmp_path, monkeypatch):
    dice = np.random.default_rng(0)
    k, g = dice.integers(0, 128, (2, 50)).astype(np.uint16), dice.normal(size=(2, 50)).astype(np.float16)
    updates = recording.Recording(base=np.zeros(2, np.uint16), examples=np.array([10, 30], np.uint16), k=k, g=g)
    monkeypatch.setattr(recording, "read", lambda: updates)
    result = carried_out("half-precision", tiny_base, tmp_path, 1e-5)
    cosines = {row["way"]: row["cosine"] for row in result.notes["rows"]}
    assert cosines["exact, rounded once to float16"] > cosines["seed by seed in float16"]
    assert cosines["seed by seed in float16"] > cosines["seed by seed in bfloat16"]


def test_recorded_updates_are_averaged_by_their_examples():
    k, g = np.array([[0, 1], [1, 2]], np.uint16), np.ones((2, 2), np.float16)
    updates = recording.Recording(base=np.zeros(2, np.uint16), examples=np.array([1, 3], np.uint16), k=k, g=g)
    assert numerics.folded(updates, Pool(size=128), 2)[:4].tolist() == [4, 16, 12, 0]
    assert numerics.folded(updates, Pool(size=128), 1)[:4].tolist() == [4, 12, 0, 0]


def test_a_record_is_the_run_and_can_be_read_again(tiny_base, tmp_path):
    run = Run(method="zero-shot", federation=federation(tiny_base, tmp_path))
    record = records.record(run, told(run, tmp_path), 1.5)
    records.write(tmp_path / "records", run.name, record)
    assert records.read(tmp_path / "records") == {run.digest: json.loads(json.dumps(record))}
    other = replace(run, federation=replace(run.federation, simulation=replace(run.federation.simulation, seed=2)))
    assert other.digest != run.digest


@pytest.fixture(autouse=True)
def plain_numbers(monkeypatch):
    """Tiny models are computed in float32, whatever the machine is fast in."""
    monkeypatch.setattr("fedkseed.llm.compute_dtype", lambda _: torch.float32)
