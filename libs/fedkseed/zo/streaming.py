"""The weights of a working model, each there only while it is used: training at the memory of inference.

The base stays where it is, mapped from its files and shared by all processes that map them. Beside it there are one
buffer, of the size of the largest layer, and coefficients. Passes, kernels and bits are those of `materialise`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Embedding, Linear, Module, Parameter

from fedkseed.errors import SettingError
from fedkseed.federation import Pool
from fedkseed.pool.sweep import Crew, Span, rebuilding
from fedkseed.zo.layout import Slot, flat
from fedkseed.zo.materialise import FromBase
from fedkseed.zo.parts import Rows, Runs, Source, Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Modules of a model that are its parts; of all others each is one, with the parameters that are its own."""

    embedding: Module  # its only argument are numbers of rows
    layers: Sequence[Module]
    head: Module


class Streamed:
    """The trainable parameters of a working model, which shows them only while it runs.

    Args:
        pool: the seed pool, of the structured family.
        slots: the placed layout, with the full support.
        base: tensors of the base in their stored dtype, by name; kept, never written.
        model: the working model; its trained parameters are taken out of it.
        anatomy: of the model.
        dtypes: what the trained parameters are computed in, by name.
        tick: the size of a tick.
        threads: threads of a pass; `torch.get_num_threads()` by default.

    Raises:
        SettingError: local weights of the family are more than coefficients.
    """

    memory: ClassVar = "streaming"

    def __init__(
        self,
        *,
        pool: Pool,
        slots: tuple[Slot, ...],
        base: Mapping[str, torch.Tensor],
        model: Module,
        anatomy: Anatomy,
        dtypes: Mapping[str, torch.dtype],
        tick: float,
        threads: int | None = None,
    ) -> None:
        if pool.family != "hadamard":
            raise SettingError(
                f"memory: streaming needs the family hadamard; {pool.family} steps a float32 copy of the weights"
            )
        self.pool, self.tick = pool, tick
        self._crew = Crew(threads or torch.get_num_threads())
        self.materialise_(np.zeros(pool.size, np.int64))
        parameters = dict(model.named_parameters())
        sources: dict[Parameter, Source] = {}
        for slot in slots:
            name, parameter = slot.spec.name, parameters[slot.spec.name]
            sources[parameter] = Source(
                parameter=parameter, first_tile=slot.first_tile, base=flat(base[name]), dtype=dtypes[name]
            )
        parts = list(_parts(model, anatomy, sources))
        buffer = torch.empty(max(part.need for part in parts), dtype=torch.uint8)
        for part in parts:
            part.attach_(buffer, self._write_)
        for source in sources.values():
            source.hide_()

    def materialise_(self, coefficients: NDArray[Any], *, along: int = 0, shift: float = 0.0) -> None:
        """Let the working model run with the weights at `coefficients` (ticks, shape (K,)), moved by `shift` along z_`along`.

        Raises:
            LedgerError: integer coefficients too large to be exact.
        """
        self._work = rebuilding(self.pool, coefficients, self.tick, along=along, shift=shift)

    def local(self, coefficients: NDArray[Any]) -> FromBase:
        """Where local training starts."""
        return FromBase(self, coefficients)

    def _write_(self, spans: Sequence[Span]) -> None:
        self._crew.run(self._work, self._crew.share(spans))


def _parts(model: Module, anatomy: Anatomy, sources: Mapping[Parameter, Source]) -> Iterator[Whole | Rows | Runs]:
    """Everything that holds trained parameters; a tied one is held twice."""
    inside = {module for layer in anatomy.layers for module in layer.modules()}
    alone = [module for module in model.modules() if module not in inside]
    for module, deep in [*((layer, True) for layer in anatomy.layers), *((module, False) for module in alone)]:
        own = {name: sources[p] for name, p in module.named_parameters(recurse=deep) if p in sources}
        if module is anatomy.embedding and isinstance(module, Embedding) and own:
            yield Rows(module, own["weight"])
        elif module is anatomy.head and isinstance(module, Linear) and own:
            yield Runs(module, own["weight"], own.get("bias"))
        elif own:
            yield Whole(module, list(own.values()))
