"""Scores a model on held-out examples: loss, accuracy, and ROUGE-L of generated responses where it is asked for."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fedkseed import data, llm, logs, model, objectives
from fedkseed.data import Example
from fedkseed.federation import EvaluationPlan
from fedkseed.genesis import Genesis
from fedkseed.objectives import ResponseTask, Task
from fedkseed.ram import Memory
from fedkseed.reading import Reader
from fedkseed.rouge import rouge_l
from fedkseed.zo.materialise import Working
from fedkseed_evaluator.machine import Evaluate, Evaluated


def held_out(examples: Sequence[Example], plan: EvaluationPlan) -> Sequence[Example]:
    """The examples that a plan scores on."""
    return examples[: plan.examples]


def score(scored: Any, task: Task, tokenizer: Any, examples: Sequence[Example], plan: EvaluationPlan) -> Mapping[str, float]:
    """Mean loss and accuracy over the targets of the plan's examples, in their given weights."""
    chosen = held_out(examples, plan)
    metrics = Reader(scored, task).score([task.encode(example) for example in chosen], plan.batch)
    if plan.rouge_examples and isinstance(task, ResponseTask):
        generated = chosen[: plan.rouge_examples]
        responses = llm.respond(scored, tokenizer, [task.prompt(example) for example in generated], plan.rouge_tokens)
        metrics["rouge_l"] = rouge_l(responses, [example["response"] for example in generated])
    return metrics


class Scorer:
    """An evaluator's working model; the base is opened and checked against the genesis when the first version comes.

    Args:
        base: a Hugging Face model id or a directory.
        support: of a federation that has one.
        examples: held-out examples.
        source: where they come from, for what is wrong with them.
        plan: how versions are scored.
        device: to compute on.
        threads: to compute with.
        memory: how weights are kept, see `model.workbench`.
    """

    def __init__(
        self,
        *,
        base: str,
        support: Path | None,
        examples: Sequence[Example],
        source: Path,
        plan: EvaluationPlan,
        device: str | None,
        threads: int | None,
        memory: Memory,
    ) -> None:
        self._where, self._support, self._device, self._threads = base, support, device, threads
        self._examples, self._source, self._plan, self._memory = examples, source, plan, memory
        self._ready: tuple[model.Base, Working, Task] | None = None

    def evaluate(self, genesis_bytes: bytes, effect: Evaluate) -> Evaluated:
        """Score one version.

        Raises:
            BaseError: the base or support is missing or not the one of the genesis.
            DataError: an example is not what the objective reads.
        """
        started = time.monotonic()
        base, weights, task = self._ready or self._open(Genesis.decode(genesis_bytes))
        weights.materialise_(effect.coefficients)
        metrics = score(base.model, task, base.tokenizer, self._examples, self._plan)
        examples = len(held_out(self._examples, self._plan))
        return Evaluated(version=effect.version, metrics=dict(metrics), examples=examples, seconds=time.monotonic() - started)

    def _open(self, genesis: Genesis) -> tuple[model.Base, Working, Task]:
        if self._threads:
            torch.set_num_threads(self._threads)
        data.check(self._examples, genesis.objective, self._source)
        base = model.open_base(self._where, self._support)
        model.check(genesis, base)
        weights = model.workbench(genesis, base, device=self._device, threads=self._threads, memory=self._memory)
        logs.info("base opened", memory=weights.memory)
        self._ready = (base, weights, objectives.bind(genesis.objective, base.tokenizer))
        return self._ready
