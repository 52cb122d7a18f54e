"""The weights of a working model, rebuilt from (base, coefficients) in one pass.

The base is never written. With the full support it is a second copy of the parameters; with a sparse support only the
chosen values are kept twice and everything else is the working model's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedkseed.federation import Pool
from fedkseed.pool.device import Placed
from fedkseed.pool.sweep import Crew, Span, rebuilding
from fedkseed.zo.layout import Slot, flat
from fedkseed.zo.passes import Maker, Passes, suited


class Working(Protocol):
    """The trainable parameters of a working model, as training and scoring ask for them."""

    memory: ClassVar[str]
    pool: Pool
    tick: float

    def materialise_(self, coefficients: NDArray[Any], *, along: int = 0, shift: float = 0.0) -> None:
        """Have the model run with the weights at `coefficients` (ticks, shape (K,)), moved by `shift` along z_`along`."""

    def local(self, coefficients: NDArray[Any]) -> "FromBase | Master":
        """Where local training starts: the cheaper exact way for the pool's family."""


class Weights:
    """The trainable parameters of a working model, and the base they are rebuilt from.

    Args:
        pool: the seed pool.
        slots: the placed layout.
        base: tensors of the base in their stored dtype, by name; kept, never written.
        working: the parameters to write, by name, of the same shapes, in the dtype computed in.
        tick: the size of a tick.
        threads: threads of a pass; `torch.get_num_threads()` by default.
        passes: makes what writes the tensors, which are on one device or on several.
    """

    memory: ClassVar = "resident"

    def __init__(
        self,
        *,
        pool: Pool,
        slots: tuple[Slot, ...],
        base: Mapping[str, torch.Tensor],
        working: Mapping[str, torch.Tensor],
        tick: float,
        threads: int | None = None,
        passes: Maker = suited,
    ) -> None:
        self.pool, self.tick = pool, tick
        self._threads, self._passes = threads or torch.get_num_threads(), passes
        self._slots = slots
        self._positions = [_there(slot.positions, base[slot.spec.name].device) for slot in slots]
        self._base = [_selected(base[slot.spec.name], at) for slot, at in zip(slots, self._positions, strict=True)]
        self._working = [working[slot.spec.name].detach().view(-1) for slot in slots]
        self._compact = [
            w if at is None else torch.empty(at.shape, dtype=w.dtype, device=w.device)
            for at, w in zip(self._positions, self._working, strict=True)
        ]
        self._rebuild = self._over(self._base, self._compact)

    def materialise_(self, coefficients: NDArray[Any], *, along: int = 0, shift: float = 0.0) -> None:
        """Write the weights at `coefficients` (ticks, shape (K,)), moved by `shift` along z_`along`, into the working model.

        Raises:
            LedgerError: integer coefficients too large to be exact.
        """
        self._rebuild.materialise_(coefficients, self.tick, along=along, shift=shift)
        self._scatter_()

    def local(self, coefficients: NDArray[Any]) -> "FromBase | Master":
        """Where local training starts; the unstructured families step a float32 copy of the trained values."""
        if self.pool.family == "hadamard":
            return FromBase(self, coefficients)
        master = [torch.empty_like(values, dtype=torch.float32) for values in self._compact]
        self._over(self._base, master).materialise_(coefficients, self.tick)
        return Master(self, self._over(master, self._compact))

    def _over(self, sources: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> Passes:
        triples = zip(self._slots, sources, targets, strict=True)
        placed = [Placed(first_tile=slot.first_tile, base=source, out=target) for slot, source, target in triples]
        return self._passes(self.pool, placed, self._threads)

    def _scatter_(self) -> None:
        """With a sparse support: put the compact values where they belong."""
        for positions, compact, working in zip(self._positions, self._compact, self._working, strict=True):
            if positions is not None:
                working[positions] = compact


class Master:
    """Float32 weights that local steps move; the working model shows them, perturbed.

    Restore, update and the next perturbation are one pass, where Malladi et al. (2023) need three.
    """

    def __init__(self, weights: Weights, passes: Passes) -> None:
        self._weights, self._steps = weights, passes
        self._last, self._move = 0, 0.0

    def perturb_(self, k: int, shift: float) -> None:
        """Show the weights moved by `shift` along z_k."""
        self._steps.step_(self._last, self._move, k, shift)
        self._move = 0.0
        self._weights._scatter_()

    def move_(self, k: int, ticks: float) -> None:
        """Take a step of `ticks` along -z_k; carried out by the next perturbation, or by the next step."""
        if self._move:
            self._steps.step_(self._last, self._move, k, 0.0)
        self._last, self._move = k, ticks * self._weights.tick


class FromBase:
    """Local weights that are nothing but coefficients: every perturbation is rebuilt from the base, so nothing drifts."""

    def __init__(self, weights: Working, coefficients: NDArray[Any]) -> None:
        self._weights, self._coefficients = weights, coefficients.astype("float64")

    def perturb_(self, k: int, shift: float) -> None:
        """Show the weights moved by `shift` along z_k."""
        self._weights.materialise_(self._coefficients, along=k, shift=shift)

    def move_(self, k: int, ticks: float) -> None:
        """Take a step of `ticks` along -z_k."""
        self._coefficients[k] += ticks


class Version(Mapping[str, torch.Tensor]):
    """The tensors of a version in their stored dtype, by name; each that is trained is rebuilt anew whenever it is asked for.

    Args:
        pool: the seed pool.
        slots: the placed layout.
        base: tensors of the base in their stored dtype, by name.
        coefficients: ticks, int64, shape (K,).
        tick: the size of a tick.
        threads: threads of a pass; `torch.get_num_threads()` by default.

    Raises:
        LedgerError: coefficients too large to be exact.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        slots: tuple[Slot, ...],
        base: Mapping[str, torch.Tensor],
        coefficients: NDArray[np.int64],
        tick: float,
        threads: int | None = None,
    ) -> None:
        self._slots, self._base = {slot.spec.name: slot for slot in slots}, base
        self._work = rebuilding(pool, coefficients, tick)
        self._crew = Crew(threads or torch.get_num_threads())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._slots:
            return self._base[name]
        slot, tensor = self._slots[name], self._base[name].detach().clone()
        values = _selected(self._base[name], slot.positions)
        out = tensor.view(-1) if slot.positions is None else torch.empty_like(values)
        span = Span(first_tile=slot.first_tile, base=flat(values), out=flat(out))
        self._crew.run(self._work, self._crew.share([span]))
        if slot.positions is not None:
            tensor.view(-1)[slot.positions] = out
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def _there(positions: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    return None if positions is None else positions.to(device)


def _selected(tensor: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
    line = tensor.detach().view(-1)
    return line if positions is None else line[positions]
