"""What training minimises and scoring scores: examples as tokens, and the loss of the logits that are read there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from fedkseed.errors import BaseError, SettingError
from fedkseed.federation import LabelWords, Objective, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One example as tokens: the logits at reads[i] are to predict targets[i]."""

    tokens: tuple[int, ...]
    reads: tuple[int, ...]
    targets: tuple[int, ...]


class Task(Protocol):
    """An objective bound to a tokenizer."""

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Turn an example into tokens."""

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit (1 where the best answer was the target) of every target, shapes (targets,).

        Args:
            logits: where they are read, float32, shape (targets, vocabulary).
            targets: int64, shape (targets,).
        """


def bind(objective: Objective, tokenizer: Any) -> Task:
    """Bind an objective to the tokenizer of its base.

    Raises:
        SettingError: two label words start with the same token, or a chat template is wanted and there is none.
        BaseError: the tokenizer has no end-of-text token.
    """
    match objective:
        case LabelWords():
            return LabelWordsTask(objective, tokenizer)
        case Response():
            return ResponseTask(objective, tokenizer)


class LabelWordsTask:
    """Cross-entropy over the label words at the end of the prompt."""

    def __init__(self, objective: LabelWords, tokenizer: Any) -> None:
        self._tokenizer, self._limit = tokenizer, objective.max_tokens
        self._head, self._tail = objective.template.split("{text}", 1)
        self._words = [_tokens(tokenizer, word)[0] for word in objective.words]
        if len(set(self._words)) < len(self._words):
            raise SettingError(f"objective.words: {list(objective.words)} do not differ in their first token")

    @property
    def labels(self) -> range:
        """What an example's target may be."""
        return range(len(self._words))

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Fill the template; a long text loses its end, never the words after it."""
        tail = _tokens(self._tokenizer, self._tail) if self._tail else []
        head = self._tokenizer(self._head + example["text"])["input_ids"][: max(1, self._limit - len(tail))]
        return Encoded(tokens=(*head, *tail), reads=(len(head) + len(tail) - 1,), targets=(int(example["label"]),))

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit of every example, shapes (batch,)."""
        words = torch.tensor(self._words).to(logits.device, non_blocking=True)
        return _score(logits[:, words], targets)


class ResponseTask:
    """Language-model loss over the response's tokens and the end of the text, the prompt masked."""

    def __init__(self, objective: Response, tokenizer: Any) -> None:
        self._tokenizer, self._template, self._limit = tokenizer, objective.template, objective.max_tokens
        if self._template == "chat" and not tokenizer.chat_template:
            raise SettingError("objective.template: this base has no chat template; give a text that contains {prompt}")
        if tokenizer.eos_token_id is None:
            raise BaseError("the tokenizer of this base has no end-of-text token, so a response would have no end")

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Prompt and response; a long response loses its end, a long prompt its beginning."""
        response = [*_tokens(self._tokenizer, example["response"]), self._tokenizer.eos_token_id][: self._limit - 1]
        prompt = self.prompt(example)[-(self._limit - len(response)) :]
        prompt = prompt or [self._tokenizer.eos_token_id]  # something must come before the first token that is scored
        reads = range(len(prompt) - 1, len(prompt) + len(response) - 1)
        return Encoded(tokens=(*prompt, *response), reads=tuple(reads), targets=tuple(response))

    def prompt(self, example: Mapping[str, Any]) -> list[int]:
        """The tokens before the response."""
        if self._template != "chat":
            tokens: list[int] = self._tokenizer(self._template.replace("{prompt}", example["prompt"]))["input_ids"]
            return tokens
        turn = [{"role": "user", "content": example["prompt"]}]
        encoded = self._tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit of every response token, shapes (tokens,)."""
        return _score(logits, targets)


def _score(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return functional.cross_entropy(logits, targets, reduction="none"), (logits.argmax(-1) == targets).float()


def _tokens(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens
