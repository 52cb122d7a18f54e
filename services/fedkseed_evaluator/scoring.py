"""Scores a model on held-out examples: loss, accuracy, and ROUGE-L of generated responses where it is asked for."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkseed import data, llm, workbench
from fedkseed.data import Example
from fedkseed.federation import EvaluationPlan
from fedkseed.genesis import Genesis
from fedkseed.objectives import ResponseTask
from fedkseed.reading import Reader
from fedkseed.rouge import rouge_l
from fedkseed.settings import Equipment
from fedkseed.workbench import Workbench
from fedkseed_evaluator.machine import Evaluate, Evaluated


def held_out(examples: Sequence[Example], plan: EvaluationPlan) -> Sequence[Example]:
    """The examples that a plan scores on."""
    return examples[: plan.examples]


def score(reader: Reader, tokenizer: Any, examples: Sequence[Example], plan: EvaluationPlan) -> Mapping[str, float]:
    """Mean loss and accuracy over the targets of the plan's examples, in their given weights."""
    chosen = held_out(examples, plan)
    task = reader.task
    metrics = reader.score([task.encode(example) for example in chosen], plan.batch)
    if plan.rouge_examples and isinstance(task, ResponseTask):
        generated = chosen[: plan.rouge_examples]
        responses = llm.respond(reader.model, tokenizer, [task.prompt(example) for example in generated], plan.rouge_tokens)
        metrics["rouge_l"] = rouge_l(responses, [example["response"] for example in generated])
    return metrics


class Scorer:
    """An evaluator's workbench, opened when the first version comes, and its examples.

    Args:
        equipment: see Equipment.
        examples: held-out examples.
        source: where they come from, for what is wrong with them.
        plan: how versions are scored.
    """

    def __init__(
        self,
        *,
        equipment: Equipment,
        examples: Sequence[Example],
        source: Path,
        plan: EvaluationPlan,
    ) -> None:
        self._equipment, self._plan = equipment, plan
        self._examples, self._source = examples, source
        self._ready: Workbench | None = None

    def evaluate(self, genesis_bytes: bytes, effect: Evaluate, check: Callable[[], None]) -> Evaluated:
        """Score one version.

        Args:
            genesis_bytes: of the federation.
            effect: what to score.
            check: called before every pass of the model.

        Raises:
            BaseError: the base or support is missing or not the one of the genesis.
            DataError: an example is not what the objective reads.
        """
        started = time.monotonic()
        bench = self._ready or self._open(Genesis.decode(genesis_bytes))
        bench.weights.materialise_(effect.coefficients)
        with llm.before_each_pass(bench.base.model, check):
            metrics = score(bench.reader, bench.base.tokenizer, self._examples, self._plan)
        examples = len(held_out(self._examples, self._plan))
        return Evaluated(version=effect.version, metrics=dict(metrics), examples=examples, seconds=time.monotonic() - started)

    def _open(self, genesis: Genesis) -> Workbench:
        data.check(self._examples, genesis.objective, self._source)
        self._ready = workbench.open_for(genesis, self._equipment)
        return self._ready
