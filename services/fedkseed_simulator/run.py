"""A `federation.toml` carried out in this process: real model, real data, virtual time, and the files that a run leaves.

ledger.safetensors   the fine-tuned model, beside its base
metrics.jsonl        every fact of the run
report.html          what was learnt and what it cost
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from fedkseed import data, model, objectives, workbench
from fedkseed.data import Dataset
from fedkseed.errors import FileError, SettingError
from fedkseed.federation import Federation, Response
from fedkseed.genesis import Genesis
from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from fedkseed.ram import Memory
from fedkseed.reading import Reader
from fedkseed_client import training
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_evaluator import scoring
from fedkseed_evaluator.machine import Evaluate, Evaluated
from fedkseed_simulator import results
from fedkseed_simulator.facts import Fact
from fedkseed_simulator.journal import Journal
from fedkseed_simulator.report import Report, render
from fedkseed_simulator.simulation import Simulation


def run(
    federation: Federation,
    out: Path,
    observe: Callable[[Fact], None] = lambda _: None,
    dtype: torch.dtype | None = None,
    *,
    device: str | None = None,
    memory: Memory = "auto",
) -> Report:
    """Carry out a federation and leave its files in a directory.

    Args:
        federation: as loaded from its file.
        out: made if it is missing; files in it are replaced when they are complete.
        observe: is told every fact as it happens.
        dtype: what to compute in; what is fast on the device by default.
        device: what to compute on; a GPU by default, where there is one that can be used.
        memory: how weights are kept, see `workbench.set_up`.

    Returns:
        What the report shows. Its last scores are those of the exported model, computed in float32 from stored weights.

    Raises:
        FedkseedError: a setting, a file, the base or the data is at fault; nothing is left half written.
    """
    started = time.monotonic()
    _check_target(federation)
    dataset = data.load(federation)
    base = model.open_base(federation.model.base, federation.model.support)
    genesis = model.found(federation, base)
    journal = Journal(out / "metrics.jsonl")

    def tell(fact: Fact) -> None:
        journal.write(fact)
        observe(fact)

    simulation = Embedded(federation, genesis, base, dataset, dtype=dtype, device=device, memory=memory).simulation(tell)
    _make(out)
    with journal:
        outcome = simulation.run()
    ledger = out / "ledger.safetensors"
    head = outcome.head
    artifact.write(ledger, Artifact(genesis_bytes=head.genesis_bytes, version=head.version, coefficients=head.coefficients))
    digest, scores = _score_artifact(federation, dataset, ledger)
    result = results.report(
        federation,
        outcome,
        examples={name: len(examples) for name, examples in dataset.clients.items()},
        final=scores,
        weights_digest=digest,
        ledger_size=ledger.stat().st_size,
        wall_seconds=time.monotonic() - started,
    )
    _write(out / "report.html", render(result))
    return result


def _check_target(federation: Federation) -> None:
    """Refuse to wait for a metric that no evaluation gives."""
    responses = isinstance(federation.objective, Response) and federation.evaluation.rouge_examples > 0
    metrics = ("loss", "accuracy", "rouge_l") if responses else ("loss", "accuracy")
    target = federation.rounds.target
    if target and target.metric not in metrics:
        raise SettingError(f"rounds.target.metric: evaluations give {', '.join(metrics)}, not {target.metric}")


class Embedded:
    """All clients and the evaluator on one working model: they take turns, each from the base and its own ledger."""

    def __init__(
        self,
        federation: Federation,
        genesis: Genesis,
        base: model.Base,
        dataset: Dataset,
        *,
        dtype: torch.dtype | None = None,
        device: str | None = None,
        memory: Memory = "auto",
    ) -> None:
        self._federation, self._genesis = federation, genesis
        self._bench = workbench.set_up(genesis, base, dtype=dtype, device=device, memory=memory)
        self._held_out = dataset.held_out
        self._encoded = {name: [self._bench.task.encode(e) for e in examples] for name, examples in dataset.clients.items()}

    def simulation(self, observe: Callable[[Fact], None]) -> Simulation:
        """The federation, ready to run."""
        return Simulation(
            federation=self._federation,
            genesis_bytes=self._genesis.encode(),
            clients={name: len(examples) for name, examples in self._encoded.items()},
            train=self.train,
            score=self.score,
            observe=observe,
        )

    def train(self, client: str, assignment: Assignment) -> Trained:
        """Measure one client's assignment."""
        bench = self._bench
        measured = training.measure(
            assignment,
            weights=bench.weights,
            prepare=bench.reader.prepare,
            loss=bench.reader.mean_loss,
            examples=self._encoded[client],
            generator=training.generator(self._federation.simulation.seed, client, assignment.base),
        )
        return training.told(assignment, measured, seconds=0.0)

    def score(self, evaluate: Evaluate) -> Evaluated:
        """Score one version."""
        bench, plan = self._bench, self._federation.evaluation
        bench.weights.materialise_(evaluate.coefficients)
        metrics = scoring.score(bench.reader, bench.base.tokenizer, self._held_out, plan)
        examples = len(scoring.held_out(self._held_out, plan))
        return Evaluated(version=evaluate.version, metrics=dict(metrics), examples=examples, seconds=0.0)


def _score_artifact(federation: Federation, dataset: Dataset, ledger: Path) -> tuple[str, Mapping[str, float]]:
    """What a stranger with the base and the artifact gets: weights digest, and scores computed in float32."""
    tuned = model.open_tuned(federation.model.base, artifact.read(ledger), federation.model.support)
    wide: torch.nn.Module = tuned.model
    reader = Reader(wide.float(), objectives.bind(federation.objective, tuned.tokenizer))
    return tuned.weights_digest, scoring.score(reader, tuned.tokenizer, dataset.held_out, federation.evaluation)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{out}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{path}: {error.strerror}") from error
