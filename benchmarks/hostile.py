"""What do hostile clients do to a model, with robust folding and without it?

Sentiment of short texts as in examples/sentiment.toml, with SmolLM2-135M and its sparse support, made small enough to be run a
dozen times: a synchronous cohort of twelve clients, K = 128, a round closes at its deadline without those who send nothing
usable. Three of the twelve are hostile. Every run has the same number of rounds that train; with robust folding one comes
before them that only measures. A run is compared with the one of the same folding without the three.

What a client measures depends on its name and the version's number and coefficients alone: it is kept in the folder, as every
finished run is, and not measured again. A benchmark that was stopped goes on where it was.

    nice -n 10 python -m benchmarks.hostile [--json] [--rounds N] [--folder DIR]
"""

import argparse
import contextlib
import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from fedkseed import data, model
from fedkseed import federation as settings
from fedkseed.federation import Attack, Federation, Hostile, Robust
from fedkseed_client import training
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_evaluator.machine import Evaluate, Evaluated
from fedkseed_simulator.facts import Outcome
from fedkseed_simulator.run import Embedded

STEPS, BATCH, TOKENS, SIZE, EXAMPLES, LR = 100, 8, 24, 128, 200, 3e-5
EPS, DTYPE = 5e-3, torch.bfloat16  # three times as fast as float32 where processors have it; a smaller eps rounds away
HOSTILE = ("movies-3", "nyt-3", "tweets-3")
ROBUST = Robust(quarantine=3 * STEPS**0.5)  # pairs: two standard deviations of an update that is all noise
ATTACKS: tuple[Attack, ...] = ("sign-flip", "huge", "scaled", "constant", "nan")
FACTORS = {"constant": 100.0, "scaled": 10.0}
BLIND: tuple[Attack, ...] = ("huge", "nan", "constant")  # attacks that need no measurement
FOLDER = Path(".cache/hostile")


def federation(rounds: int, robust: bool, attack: Attack | None) -> Federation:
    """The federation of one run."""
    example = settings.load(Path("examples/sentiment.toml"))
    hostile = tuple(Hostile(who=who, attack=attack, factor=FACTORS.get(attack, 1.0)) for who in HOSTILE) if attack else ()
    return replace(
        example,
        objective=replace(example.objective, max_tokens=TOKENS),
        pool=replace(example.pool, size=SIZE),
        training=replace(example.training, steps=STEPS, batch=BATCH, eps=EPS, lr=LR),
        rounds=settings.Rounds(cohort=12, deadline_seconds=1000.0, total=rounds + robust),
        robust=ROBUST if robust else None,
        evaluation=settings.EvaluationPlan(every=1000, examples=EXAMPLES, batch=50),
        simulation=settings.Simulation(seed=1, hostile=hostile),
    )


class Party(Embedded):
    """All clients in one process; what was measured or scored before is read from a folder."""

    def __init__(self, described: Federation, folder: Path) -> None:
        dataset, base = data.load(described), model.open_base(described.model.base, described.model.support)
        hostile = {each.who: each.attack for each in described.simulation.hostile}
        here = {name: rows for name, rows in dataset.clients.items() if hostile or name not in HOSTILE}
        genesis = model.found(described, base)
        super().__init__(described, genesis, base, replace(dataset, clients=here), dtype=DTYPE)
        self._blind = {who for who, attack in hostile.items() if attack in BLIND}
        self._folder, self._genesis_bytes = folder, genesis.encode()

    def train(self, client: str, assignment: Assignment) -> Trained:
        """Measure, unless that was done before or is of no use."""
        if client in self._blind:
            steps = assignment.round.steps
            dice = training.generator(1, client, assignment.base)
            k = dice.integers(0, SIZE, steps).astype("<u2")
            return Trained(base=assignment.base, k=k.tobytes(), g=bytes(2 * steps), loss=0.0, seconds=0.0, skipped=0)
        path = self._folder / f"{client}-{assignment.base}-{_digest(assignment.coefficients)}.json"
        if not path.exists():
            trained = super().train(client, assignment)
            _write(path, asdict(trained) | {"k": trained.k.hex(), "g": trained.g.hex()})
            print(f"  {client} on version {assignment.base}: loss {trained.loss:.3f}", flush=True)
        kept = json.loads(path.read_text())
        return Trained(**{**kept, "k": bytes.fromhex(kept["k"]), "g": bytes.fromhex(kept["g"])})

    def score(self, effect: Evaluate) -> Evaluated:
        """Score, unless that was done before."""
        path = self._folder / f"score-{effect.version}-{_digest(effect.coefficients)}.json"
        if not path.exists():
            _write(path, asdict(super().score(effect)))
        self.scored = Evaluated(**json.loads(path.read_text()))
        return self.scored


def run(rounds: int, robust: bool, attack: Attack | None, folder: Path) -> dict[str, Any]:
    """What one run came to; read from the folder where it was run before."""
    name = f"{rounds}-{'robust' if robust else 'plain'}-{attack or 'nobody'}"
    path = folder / f"run-{name}.json"
    if not path.exists():
        print(name, flush=True)
        party = Party(federation(rounds, robust, attack), folder)
        outcome = party.simulation(lambda _: None).run()
        assert party.scored.version == outcome.head.version, "the last version is scored"
        _write(path, _result(robust, attack, party.scored, outcome))
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def _result(robust: bool, attack: Attack | None, scored: Evaluated, outcome: Outcome) -> dict[str, Any]:
    excluded = {client: commit.version for commit in outcome.log for client in commit.quarantined}
    return {
        "folding": "robust" if robust else "plain",
        "attack": attack,
        "loss": scored.metrics["loss"],
        "accuracy": scored.metrics["accuracy"],
        "quarantined": excluded,
        "outcomes": dict(outcome.outcomes),
        "state_digest": outcome.head.digest.hex(),
    }


def compared(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, each beside the run of the same folding without hostile clients."""
    alone = {result["folding"]: result["loss"] for result in results if result["attack"] is None}
    return [{**result, "loss_ratio": result["loss"] / alone[result["folding"]]} for result in results]


def line(result: dict[str, Any]) -> str:
    """One row of the table; hostile clients that were excluded, and honest ones."""
    excluded = result["quarantined"].keys()
    found, wrong = len(excluded & set(HOSTILE)), len(excluded - set(HOSTILE))
    attack, change = result["attack"] or "nobody", 100 * (result["loss_ratio"] - 1)
    scores = f"{result['loss']:8.3f} {change:+8.1f} % {100 * result['accuracy']:7.1f} %"
    return f"{attack:<10} {result['folding']:<7} {scores} {found:>8} of 3 {wrong:>5} of 9"


def main() -> None:
    """Run what has not been run, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that train (%(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where measurements and results are kept (%(default)s)")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    runs = [(robust, attack) for attack in (None, *ATTACKS) for robust in (False, True)]
    with contextlib.redirect_stdout(sys.stderr):
        results = compared([run(arguments.rounds, robust, attack, arguments.folder) for robust, attack in runs])
    if arguments.json:
        print(json.dumps({"rounds": arguments.rounds, "steps": STEPS, "robust": asdict(ROBUST), "runs": results}, indent=1))
        return
    print("attack     folding     loss     change accuracy   hostile, honest excluded")
    for result in results:
        print(line(result))


def _digest(coefficients: NDArray[np.int64]) -> str:
    return hashlib.sha256(coefficients.tobytes()).hexdigest()[:16]


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


if __name__ == "__main__":
    main()
