"""Whole federations on a real, tiny, random Llama: what they learn, what they leave behind, and that it can be repeated."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from fedkseed import data, model, objectives, trunk, workbench
from fedkseed.ledger import artifact
from fedkseed.ledger.fold import found
from fedkseed.model import open_base
from fedkseed.pool import importance
from fedkseed.reading import Reader
from fedkseed.zo import layout, support
from fedkseed_client import training
from fedkseed_client.machine import Assignment
from fedkseed_simulator.run import Embedded, run
from tests.embedded import TALK, TOY, federation, fedkseed, on, write_rows

ROUGH = {
    "seed": 5,
    "speeds": {"law": "pareto", "spread": 1.1},
    "network": {"latency_seconds": 0.5, "jitter_seconds": 3.0, "lost": 0.1, "duplicated": 0.2},
    "dropout": 0.2,
}
FILES = ["ledger.safetensors", "metrics.jsonl", "report.html"]


def simulate(described):
    """A federation in memory: what it came to, and the genesis that it was founded with."""
    base = open_base(described.model.base, described.model.support)
    genesis = model.found(described, base)
    return Embedded(described, genesis, base, data.load(described)).simulation(lambda _: None).run(), genesis


def losses(run):
    """Held-out loss of the scored versions: of a report, or of an outcome."""
    return [score.metrics["loss"] for score in run.scores]


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


LEARNING = {"lr": 1e-3, "steps": 40, "batch": 12}


@pytest.mark.parametrize("family", ["hadamard", "rademacher", "gaussian"])
def test_a_federation_learns_with_every_family(tiny_base, tmp_path, family):
    outcome, _ = simulate(federation(tiny_base, tmp_path, pool={"family": family}, training=LEARNING))
    before, after = losses(outcome)
    assert after < 0.7 * before


@pytest.mark.parametrize("family", ["hadamard", "gaussian"])
def test_directions_of_a_batch_learn_as_much_in_little_more_than_half_the_time(tiny_base, tmp_path, family):
    alone = federation(tiny_base, tmp_path, pool={"family": family}, training=LEARNING)
    together, _ = simulate(replace(alone, training=replace(alone.training, directions_per_batch=8)))
    before, after = losses(together)
    assert after < 0.7 * before
    assert together.seconds / simulate(alone)[0].seconds == pytest.approx(45 / 80)
    assert all(len(closed.commit.members) == 3 for closed in together.rounds)


@pytest.mark.parametrize("directions", [1, 4])
def test_a_ledger_is_the_same_whether_lower_layers_are_computed_once_or_each_time(tiny_base, tmp_path, monkeypatch, directions):
    upper = {"model.layers.1.mlp.down_proj.weight": np.arange(0, 512, 3), "model.norm.weight": np.arange(8)}
    support.write(tmp_path / "upper.safetensors", upper)
    training = LEARNING | {"lr": 1e-3, "directions_per_batch": directions}
    described = federation(tiny_base, tmp_path, model={"support": "upper.safetensors"}, training=training)
    found, once = [], trunk.find
    monkeypatch.setattr(trunk, "find", lambda *args: found.append(once(*args)) or found[-1])
    shared, _ = simulate(described)
    assert [len(one.layers) for one in found] == [1]
    monkeypatch.setattr(trunk, "find", lambda *_: None)
    whole, _ = simulate(described)
    assert shared.head.coefficients.any()
    assert shared.head.digest == whole.head.digest
    assert shared.scores == whole.scores


def test_a_run_leaves_ledger_journal_and_report(tiny_base, tmp_path):
    out = tmp_path / "runs" / "first"
    report = run(federation(tiny_base, tmp_path), out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert artifact.read(out / "ledger.safetensors").version == 3
    journal = lines((out / "metrics.jsonl").read_text())
    assert [row["version"] for row in journal if row["event"] == "commit"] == [1, 2, 3]
    assert [row["outcome"] for row in journal if row["event"] == "update"] == ["folded"] * 9
    assert [row["version"] for row in journal if row["event"] == "score"] == [0, 3]
    assert dict(report.facts)["weights digest"] in (out / "report.html").read_text()


def test_the_command_reports_in_plain_lines_and_a_table_or_as_json(tiny_base, tmp_path, monkeypatch, capsys):
    quick = {"training": {"steps": 2}, "rounds": {"total": 2}}
    federation(tiny_base, tmp_path, **quick)
    path, out = tmp_path / "federation.toml", tmp_path / "run"
    assert fedkseed(monkeypatch, "simulate", path, "--out", out) == 0
    said = capsys.readouterr()
    assert "version 0: held-out loss" in said.err
    assert "version 1 of 2: training loss" in said.err
    assert "\x1b" not in said.err
    assert all(name in said.out for name in ("held-out accuracy", "FedAvg would send", "weights digest", *FILES))
    assert fedkseed(monkeypatch, "simulate", path, "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [score["version"] for score in report["scores"]] == [0, 2]


def test_two_identical_runs_leave_identical_ledgers_and_journals(tiny_base, tmp_path):
    rounds = {"cohort": 2, "max_staleness": 3, "staleness_law": "polynomial", "deadline_seconds": 120.0, "total": 6}
    described = federation(tiny_base, tmp_path, rounds=rounds, simulation=ROUGH, training={"steps": 6})
    for out in (tmp_path / "one", tmp_path / "two"):
        run(described, out)
    for name in ("ledger.safetensors", "metrics.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert artifact.read(tmp_path / "one" / "ledger.safetensors").coefficients.any()


def test_a_federation_on_what_another_learnt_names_that_model_as_its_base(tiny_base, tmp_path, monkeypatch, capsys):
    first = run(federation(tiny_base, tmp_path, training=LEARNING | {"steps": 8}), tmp_path / "first")
    ledger, tuned = tmp_path / "first" / "ledger.safetensors", tmp_path / "tuned"
    assert fedkseed(monkeypatch, "verify", ledger, "--base", tiny_base) == 0
    digest = re.search(r"weights digest +(\w+)", capsys.readouterr().out)[1]
    assert fedkseed(monkeypatch, "export", ledger, "--base", tiny_base, "--out", tuned) == 0
    second, genesis = simulate(federation(tuned, tmp_path, pool={"seed": 2}, training=LEARNING))
    assert genesis.base_digest == digest
    assert losses(second)[0] == pytest.approx(losses(first)[-1], rel=1e-3)  # where bfloat16 is computed in, rounded twice
    assert losses(second)[-1] < 0.8 * losses(second)[0]


def test_a_run_that_streams_its_weights_leaves_the_same_files(tiny_base, tmp_path):
    described = federation(tiny_base, tmp_path, training={"steps": 6})
    run(described, tmp_path / "resident", memory="resident")
    run(described, tmp_path / "streaming", memory="streaming")
    for name in ("ledger.safetensors", "metrics.jsonl"):
        assert (tmp_path / "resident" / name).read_bytes() == (tmp_path / "streaming" / name).read_bytes()


def test_another_seed_of_the_simulation_is_another_ledger(tiny_base, tmp_path):
    described = federation(tiny_base, tmp_path, training={"steps": 4}, rounds={"total": 1})
    other = replace(described, simulation=replace(described.simulation, seed=1))
    assert simulate(described)[0].head.digest != simulate(other)[0].head.digest


def synchronous(described, genesis, rounds):
    """The published algorithm, from the clients' measurements: A_k += c_i * (sum of client i's scalars at seed k).

    Exact rational arithmetic up to each rounding to a tick that the ledger asks for.
    """
    bench = workbench.set_up(genesis, open_base(described.model.base))
    clients = data.partition(data.read(Path(described.data.train)), described.data.partition)
    announced, total = found(genesis.encode(), described.policy, 0.0).round, sum(map(len, clients.values()))
    ticks, residue = np.zeros(genesis.pool.size, np.int64), [Fraction(0)] * genesis.pool.size
    for version in range(rounds):
        mean = [Fraction(0)] * genesis.pool.size
        for client, examples in clients.items():
            measured = training.measure(
                Assignment(round=replace(announced, version=version), coefficients=ticks),
                weights=bench.weights,
                prepare=bench.reader.prepare,
                loss=bench.reader.mean_loss,
                examples=[bench.task.encode(example) for example in examples],
                generator=training.generator(described.simulation.seed, client, version),
            )
            for k, g in zip(measured.seed_indices, measured.gradients, strict=True):
                mean[k] += Fraction(len(examples), total) * Fraction(round(float(g) * 65536), 65536)
        exact = [Fraction(genesis.lr) / Fraction(genesis.tick) * m + r for m, r in zip(mean, residue, strict=True)]
        ticks = ticks + np.array([round(x) for x in exact])
        residue = [Fraction(round((x - round(x)) * 65536), 65536) for x in exact]
    return ticks


def test_a_synchronous_federation_is_the_published_algorithm_on_the_clients_measurements(tiny_base, tmp_path):
    slow = {"speeds": {"law": "pareto", "spread": 0.8}}
    described = federation(tiny_base, tmp_path, simulation=slow, rounds={"deadline_seconds": 1e6})
    outcome, genesis = simulate(described)
    assert outcome.outcomes == {"folded": 9}
    assert outcome.head.coefficients.tolist() == synchronous(described, genesis, 3).tolist()


def test_a_late_joiner_ends_with_the_same_state_out_of_one_snapshot(tiny_base, tmp_path):
    late = {"incidents": [{"at_seconds": 20.0, "kind": "join", "who": "p1"}]}
    outcome, _ = simulate(
        federation(tiny_base, tmp_path, rounds={"cohort": 2, "max_staleness": 1, "total": 4}, simulation=late)
    )
    assert {digest for _, digest in outcome.states.values()} == {outcome.head.digest}
    down = [flow for flow in outcome.flows if flow.participant == "p1" and flow.direction == "down"]
    assert sum(flow.messages for flow in down if flow.kind == "snapshot") == 1
    assert min(flow.version for flow in down) > 0
    assert any(member.client == "p1" for commit in outcome.log for member in commit.members)


def test_importance_sampling_learns_and_prefers_some_seeds(tiny_base, tmp_path):
    outcome, _ = simulate(federation(tiny_base, tmp_path, training={"importance": True} | LEARNING))
    before, after = losses(outcome)
    assert after < 0.7 * before
    odds = importance.probabilities(importance.unpack(outcome.head.round.importance, 128))
    assert max(odds) > 1.5 * min(odds)


def test_responses_are_trained_and_scored_with_rouge(tiny_base, tmp_path):
    objective = {"kind": "response", "max_tokens": 24}
    plan = {"every": 10, "rouge_examples": 2, "rouge_tokens": 4}
    outcome, _ = simulate(federation(tiny_base, tmp_path, TALK, objective=objective, evaluation=plan))
    before, after = losses(outcome)
    assert after < before
    assert 0.0 <= outcome.scores[-1].metrics["rouge_l"] <= 1.0


def test_training_ends_at_a_target(tiny_base, tmp_path):
    target = {"metric": "loss", "at_most": 0.685}
    described = federation(
        tiny_base, tmp_path, training=LEARNING, rounds={"total": 20, "target": target}, evaluation={"every": 1}
    )
    outcome, _ = simulate(described)
    assert losses(outcome)[-1] <= 0.685 < losses(outcome)[-2]
    assert outcome.head.version < 20


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def stored_base(request, tiny_base, tmp_path):
    """The tiny base, stored in each dtype that a base may have."""
    if request.param == "float32":
        return tiny_base
    narrow = AutoModelForCausalLM.from_pretrained(tiny_base).to(getattr(torch, request.param))
    narrow.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_an_exported_model_is_the_reported_one(stored_base, tmp_path, monkeypatch, capsys):
    described = on(stored_base, federation(stored_base, tmp_path, training={"eps": 4e-3}))
    report = run(described, tmp_path / "run")
    ledger, out = tmp_path / "run" / "ledger.safetensors", tmp_path / "exported"
    assert fedkseed(monkeypatch, "export", ledger, "--base", stored_base, "--out", out) == 0
    tuned, tokenizer = AutoModelForCausalLM.from_pretrained(out, dtype="auto"), AutoTokenizer.from_pretrained(out)
    assert {p.dtype for p in tuned.parameters()} == {p.dtype for p in open_base(stored_base).parameters.values()}
    task = objectives.bind(described.objective, tokenizer)
    examples = [task.encode(example) for example in data.read(Path(described.data.held_out))]
    assert Reader(tuned.float(), task).score(examples, described.evaluation.batch) == report.scores[-1].metrics

    exported = open_base(out)
    digest = layout.weights_digest(exported.layout, exported.parameters)
    assert digest == dict(report.facts)["weights digest"]
    for threads in (1, 2):
        capsys.readouterr()
        assert fedkseed(monkeypatch, "verify", ledger, "--base", stored_base, "--threads", threads) == 0
        assert f"weights digest  {digest}\n" in capsys.readouterr().out


def on_text(base, folder):
    (folder / "text.txt").write_text(" ".join(f"w{i * i % 54}" for i in range(400)), encoding="utf-8")
    return ["--text", folder / "text.txt", "--samples", "4", "--length", "16"]


def on_examples(base, folder):
    federation(base, folder)
    return ["--examples", folder / "train.jsonl", "--federation", folder / "federation.toml"]


@pytest.mark.parametrize("chosen_on", [on_text, on_examples])
def test_a_sparse_federation_changes_the_chosen_positions_only(tiny_base, tmp_path, monkeypatch, chosen_on):
    chosen = tmp_path / "support.safetensors"
    how = [*chosen_on(tiny_base, tmp_path), "--fraction", "0.1"]
    assert fedkseed(monkeypatch, "support", tiny_base, *how, "--out", chosen) == 0
    support = load_file(chosen)

    sparse = {"model": {"support": "support.safetensors"}, "training": LEARNING | {"lr": 5e-3}}
    report = run(federation(tiny_base, tmp_path, **sparse), tmp_path / "run")
    before, after = losses(report)
    assert after < 0.7 * before
    base = open_base(tiny_base).parameters
    tuned = layout.trainable(model.load(tiny_base, tmp_path / "run" / "ledger.safetensors", support=chosen))
    moved = {name: np.flatnonzero((p != base[name]).detach().numpy()).tolist() for name, p in tuned.items()}
    assert sum(map(len, support.values())) == pytest.approx(0.1 * sum(p.numel() for p in base.values()), abs=1)
    assert all(set(positions) <= set(support.get(name, ())) for name, positions in moved.items())
    assert sum(map(len, moved.values())) > 0.9 * sum(map(len, support.values()))


def test_labels_are_not_looked_at_unless_they_are_to_count(tiny_base, tmp_path, monkeypatch):
    federation(tiny_base, tmp_path)
    texts = [{"text": row["text"]} for row in TOY]
    chosen = []
    for rows, flags in ((texts, ["--unlabelled"]), (TOY, ["--unlabelled"]), (TOY, [])):
        examples, out = write_rows(tmp_path / "examples.jsonl", rows), tmp_path / "support.safetensors"
        how = [*flags, "--federation", tmp_path / "federation.toml", "--examples", examples, "--fraction", "0.1"]
        assert fedkseed(monkeypatch, "support", tiny_base, *how, "--out", out) == 0
        chosen.append({name: positions.tolist() for name, positions in load_file(out).items()})
    assert chosen[0] == chosen[1] != chosen[2]
