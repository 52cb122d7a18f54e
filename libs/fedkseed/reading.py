"""How a model is read: batches arranged for one forward pass, and the losses of an objective.

Rules kept here: examples share one row where that is cheaper and the model keeps them apart; hidden states are gathered
before the output embedding, so logits exist only where they are read; what does not depend on weights that change is made once
for all forward passes of a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from fedkseed import trunk
from fedkseed.arrangement import Arrangement, OneRow, in_one_row, padded
from fedkseed.llm import UNFIT, entrance
from fedkseed.objectives import Encoded, Task
from fedkseed.trunk import Trunk


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A batch as its model takes it, where its model is; both signs of a step share it."""

    inputs: Mapping[str, torch.Tensor]
    rows: torch.Tensor  # where logits are read, shape (reads,)
    columns: torch.Tensor  # shape (reads,)
    targets: torch.Tensor  # shape (reads,)
    kept: list[Any] = field(default_factory=list)  # what the trunk made of it, once it has


class Reader:
    """A causal model, read in batches for an objective.

    Examples share one row, in which nothing is computed for padding, and once what all begin with, where that costs less
    than a row for each, and where the model really keeps them apart, which is tried once.

    Args:
        model: a causal language model; its weights may change from one forward pass to the next.
        task: the objective.
        trained: those of its parameters that change; without it, any may.
    """

    def __init__(self, model: Any, task: Task, trained: set[torch.nn.Parameter] | None = None) -> None:
        self.model, self.task, self._trained = model, task, trained

    def prepare(self, batch: Sequence[Encoded]) -> Prepared:
        """Arrange a batch for any number of forward passes."""
        arranged, begin = self._arrange(batch), entrance(self.model)
        return Prepared(
            inputs=self._inputs(arranged),
            rows=_to(begin, arranged.rows),
            columns=_to(begin, arranged.columns),
            targets=_to(begin, torch.tensor([target for encoded in batch for target in encoded.targets])),
        )

    def losses(self, batch: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit (1 where the best answer was the target) of every target, in one forward pass, shapes (targets,)."""
        with self._without_trunk(batch), _gathering(self.model, batch.rows, batch.columns):
            logits = self._run(batch.inputs)
        return self.task.losses(logits[:, 0].float(), _to(logits.device, batch.targets))

    @torch.inference_mode()
    def mean_loss(self, batch: Prepared) -> torch.Tensor:
        """Mean loss over all targets; a scalar that is still on its device, where it may not be computed yet."""
        return self.losses(batch)[0].mean()

    @torch.inference_mode()
    def score(self, examples: Sequence[Encoded], batch: int) -> dict[str, float]:
        """Mean loss and accuracy over all targets of held-out examples; batches hold examples of like length."""
        ordered = sorted(examples, key=lambda encoded: len(encoded.tokens))
        results = [self.losses(self.prepare(ordered[i : i + batch])) for i in range(0, len(ordered), batch)]
        losses, hits = (torch.cat(column) for column in zip(*results, strict=True))
        return {"loss": float(losses.double().mean()), "accuracy": float(hits.double().mean())}

    def _arrange(self, batch: Sequence[Encoded]) -> Arrangement:
        rows, row = padded(batch), in_one_row(batch)
        return row if self._is_cheaper(row, rows) and self._overlooks(row) and self._keeps_apart else rows

    def _is_cheaper(self, row: OneRow, rows: Arrangement) -> bool:
        """Whether attention over one long row costs less than it saves.

        A token costs some 24 h^2 operations a layer in matrices of width h; a pair of tokens 4 h in attention, which
        processors do at half the speed. One row is masked and looks at all its pairs, padded ones look at what came before.
        """
        saved, width = rows.tokens.numel() - row.tokens.numel(), self._config.hidden_size
        return bool(row.tokens.numel() ** 2 - rows.tokens.numel() * rows.tokens.shape[1] // 2 < 3 * width * saved)

    def _overlooks(self, row: OneRow) -> bool:
        """Whether all layers see a whole row: windows are not part of its mask, or count places in it."""
        windows = (getattr(self._config, name, None) for name in _WINDOWS)
        return all(row.tokens.shape[1] <= window for window in windows if isinstance(window, int))

    @cached_property
    def _keeps_apart(self) -> bool:
        """Whether examples in one row give the same logits as alone: some architectures ignore masks or positions."""
        lines = [[token % self._config.vocab_size for token in (0, 1, 2, 3, *own)] for own in (range(4, 8), range(8, 12))]
        batch = [Encoded(tokens=tuple(line), reads=(4, 5, 6, 7), targets=()) for line in lines]
        row, rows = in_one_row(batch), padded(batch)
        alone, mixed = self._try(rows, self._inputs(rows)), self._try(row, {"input_ids": self._inputs(row)["input_ids"]})
        try:
            apart = self._try(row, self._inputs(row))
        except UNFIT:
            return False
        return float((apart - alone).norm()) <= 0.1 * float((mixed - alone).norm())

    @cached_property
    def trunk(self) -> Trunk | None:
        """The layers that are computed once for a batch."""
        if self._trained is None:
            return None
        inputs = self._inputs(padded([_PROBE]))
        with torch.inference_mode():
            return trunk.find(self.model, self._trained, lambda: self._run(inputs))

    def _without_trunk(self, batch: Prepared) -> AbstractContextManager[None]:
        """Where the trunk is not computed, but for the batch's first time."""
        if self.trunk is None:
            return nullcontext()
        return self.trunk.standing_in(batch.kept) if batch.kept else self.trunk.keeping(batch.kept)

    @torch.inference_mode()
    def _try(self, arranged: Arrangement, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self._run(inputs)[arranged.rows, arranged.columns]

    @property
    def _config(self) -> Any:
        return self.model.config.get_text_config()

    def _inputs(self, arranged: Arrangement) -> dict[str, torch.Tensor]:
        """What the model takes."""
        begin = entrance(self.model)
        inputs = {"input_ids": _to(begin, arranged.tokens)}
        if isinstance(arranged, OneRow):
            scores = arranged.scores(begin, self.model.get_input_embeddings().weight.dtype)
            inputs |= {"position_ids": _to(begin, arranged.positions), "attention_mask": scores}
        return inputs

    def _run(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self.model(**inputs, use_cache=False).logits
        return logits


_WINDOWS = ("sliding_window", "sliding_window_size", "attention_chunk_size", "window_size")  # tokens, as configurations say it
_PROBE = Encoded(tokens=(0, 1, 2, 3), reads=(3,), targets=())


def _to(device: torch.device, line: torch.Tensor) -> torch.Tensor:
    """The same on a device; nobody waits for what a GPU does before it takes it."""
    return line.to(device, non_blocking=True)


@contextmanager
def _gathering(model: Any, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Let the output embedding see only hidden[rows, columns]: whatever a model does to its logits still happens."""

    def gather(_head: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (hidden,) = args
        return (hidden[_to(hidden.device, rows), _to(hidden.device, columns)][:, None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()
