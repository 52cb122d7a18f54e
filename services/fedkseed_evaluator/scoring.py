"""Scores a model on held-out examples: loss, accuracy, and ROUGE-L of generated responses where it is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedkseed import llm
from fedkseed.data import Example
from fedkseed.federation import EvaluationPlan
from fedkseed.rouge import rouge_l


def held_out(examples: Sequence[Example], plan: EvaluationPlan) -> Sequence[Example]:
    """The examples that a plan scores on."""
    return examples[: plan.examples]


def score(model: Any, task: llm.Task, tokenizer: Any, examples: Sequence[Example], plan: EvaluationPlan) -> Mapping[str, float]:
    """Mean loss and accuracy over the targets of the plan's examples, in their given weights."""
    chosen = held_out(examples, plan)
    metrics = llm.score(model, task, [task.encode(example) for example in chosen], plan.batch)
    if plan.rouge_examples and isinstance(task, llm.ResponseTask):
        generated = chosen[: plan.rouge_examples]
        responses = llm.respond(model, task, tokenizer, generated, plan.rouge_tokens)
        metrics["rouge_l"] = rouge_l(responses, [example["response"] for example in generated])
    return metrics
