"""What all methods share: base model, examples of every client, objective, held-out examples and how they are scored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import torch

from fedkseed import data, llm, model, objectives
from fedkseed.data import Example
from fedkseed.federation import Federation
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader
from fedkseed.settings import Dtype
from fedkseed_evaluator import scoring

BYTES_OF_A_WEIGHT = 2  # as baselines are charged: averaged in float32 here, they could be sent in half of that


class InTurn(Sequence[Encoded]):
    """Examples that are encoded when their turn comes: a short run reads few of its clients'.

    Args:
        encode: of the task.
        examples: as they are read.
    """

    def __init__(self, encode: Callable[[Example], Encoded], examples: Sequence[Example]) -> None:
        self._encode, self._examples = encode, examples

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, at: int) -> Encoded: ...

    @overload
    def __getitem__(self, at: slice) -> list[Encoded]: ...

    def __getitem__(self, at: int | slice) -> Encoded | list[Encoded]:
        if isinstance(at, slice):
            return [self._encode(example) for example in self._examples[at]]
        return self._encode(self._examples[at])


class Stage:
    """A federation's model and data, ready to be trained on.

    Args:
        federation: its settings.
        dtype: what to compute in; what is fast on the device by default.
    """

    def __init__(self, federation: Federation, dtype: Dtype | None = None) -> None:
        self.federation = federation
        self.base = model.open_base(federation.model.base, federation.model.support)
        self.dataset = data.load(federation)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = llm.dtype_named(dtype) or llm.compute_dtype(self.device)
        self.task = objectives.bind(federation.objective, self.base.tokenizer)
        self.reader = Reader(self.base.model, self.task)
        self.clients: Mapping[str, Sequence[Encoded]] = {
            name: InTurn(self.task.encode, examples) for name, examples in self.dataset.clients.items()
        }

    @property
    def dtype_name(self) -> str:
        """The dtype that forward passes are computed in."""
        return str(self.dtype).removeprefix("torch.")

    def shown(self) -> torch.nn.Module:
        """The model, where it is computed on."""
        model: Any = self.base.model
        moved: torch.nn.Module = model.to(self.device)
        return moved

    def mixed(self) -> torch.autocast:
        """Forward passes of float32 weights, computed in the dtype of the others'."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32, cache_enabled=False)

    def score(self) -> Mapping[str, float]:
        """Scores of the model as it is now, on held-out examples."""
        plan = self.federation.evaluation
        return dict(scoring.score(self.reader, self.base.tokenizer, self.dataset.held_out, plan))
