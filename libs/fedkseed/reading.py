"""How a model is read: batches arranged for one forward pass, and the losses of an objective.

Rules kept here: examples of unlike length share one row, where the model keeps them apart, and are padded on the right
otherwise, where a causal model never looks; hidden states are gathered before the output embedding, so logits exist only
where they are read; what does not depend on weights is made once for all forward passes of a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch

from fedkseed.llm import entrance
from fedkseed.objectives import Encoded, Task


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A batch as its model takes it, where its model is; both signs of a step share it."""

    inputs: Mapping[str, torch.Tensor]
    rows: torch.Tensor  # where logits are read, shape (reads,)
    columns: torch.Tensor  # shape (reads,)
    targets: torch.Tensor  # shape (reads,)


class Reader:
    """A causal model, read in batches for an objective.

    Examples of unlike length are packed: they stand behind one another in one row, and attention is told where each
    begins, so that nothing is computed for padding. That is done where the model really keeps them apart, which is tried
    once, and where a longer row costs less than padding.

    Args:
        model: a causal language model; its weights may change from one forward pass to the next.
        task: the objective.
    """

    def __init__(self, model: Any, task: Task) -> None:
        self._model, self._task = model, task

    def prepare(self, batch: Sequence[Encoded]) -> Prepared:
        """Arrange a batch for any number of forward passes."""
        lengths = [len(encoded.tokens) for encoded in batch]
        arranged = _packed if self._is_shorter_packed(lengths) and self._keeps_apart else _padded
        rows, columns, inputs = arranged(batch)
        targets = torch.tensor([target for encoded in batch for target in encoded.targets])
        begin, end = entrance(self._model), self._model.get_output_embeddings().weight.device
        return Prepared(
            inputs={name: _to(begin, line) for name, line in inputs.items()},
            rows=_to(end, rows),
            columns=_to(end, columns),
            targets=_to(end, targets),
        )

    def losses(self, batch: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit (1 where the best answer was the target) of every target, in one forward pass, shapes (targets,)."""
        with _gathering(self._model, batch.rows, batch.columns):
            logits = self._run(batch.inputs)
        return self._task.losses(logits[:, 0].float(), batch.targets)

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

    def _is_shorter_packed(self, lengths: Sequence[int]) -> bool:
        """Whether attention over one long row costs less than padding saves.

        A token costs some 24 h^2 operations a layer in matrices of width h; a pair of tokens 4 h in attention. One row is
        masked and looks at all its pairs, padded ones look at what came before.
        """
        tokens, padded = sum(lengths), len(lengths) * max(lengths)
        width: int = self._model.config.get_text_config().hidden_size
        return tokens**2 - padded * max(lengths) // 2 < 6 * width * (padded - tokens)

    @cached_property
    def _keeps_apart(self) -> bool:
        """Whether a sequence gives the same logits behind another one as alone: some architectures ignore where it begins."""
        vocabulary, begin = self._model.config.get_text_config().vocab_size, torch.arange(8)[None]
        row = torch.arange(16)[None] % vocabulary
        apart = self._try(input_ids=row, position_ids=begin.repeat(1, 2))[:, 8:]
        mixed = self._try(input_ids=row)[:, 8:]
        alone = self._try(input_ids=row[:, 8:])
        return float((apart - alone).norm()) <= 0.1 * float((mixed - alone).norm())

    @torch.inference_mode()
    def _try(self, **inputs: torch.Tensor) -> torch.Tensor:
        begin = entrance(self._model)
        return self._run({name: _to(begin, line) for name, line in inputs.items()})

    def _run(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self._model(**inputs, use_cache=False).logits
        return logits


_Arranged = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]  # rows and columns that are read; what the model takes


def _padded(batch: Sequence[Encoded]) -> _Arranged:
    """One example a row."""
    width = max(len(encoded.tokens) for encoded in batch)
    tokens = torch.tensor([[*encoded.tokens, *([0] * (width - len(encoded.tokens)))] for encoded in batch])
    rows = torch.tensor([row for row, encoded in enumerate(batch) for _ in encoded.reads])
    columns = torch.tensor([column for encoded in batch for column in encoded.reads])
    return rows, columns, {"input_ids": tokens}


def _packed(batch: Sequence[Encoded]) -> _Arranged:
    """One row, in which positions begin at zero with each example."""
    starts = accumulate((len(encoded.tokens) for encoded in batch), initial=0)
    columns = torch.tensor([start + column for start, encoded in zip(starts, batch, strict=False) for column in encoded.reads])
    tokens = torch.tensor([[token for encoded in batch for token in encoded.tokens]])
    positions = torch.tensor([[position for encoded in batch for position in range(len(encoded.tokens))]])
    return torch.zeros_like(columns), columns, {"input_ids": tokens, "position_ids": positions}


def _to(device: torch.device, line: torch.Tensor) -> torch.Tensor:
    """The same on a device; nobody waits for what a GPU does before it takes it."""
    return line.to(device, non_blocking=True)


@contextmanager
def _gathering(model: Any, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Let the output embedding see only hidden[rows, columns]: whatever a model does to its logits still happens."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0][rows, columns][:, None],))
    try:
        yield
    finally:
        hook.remove()
