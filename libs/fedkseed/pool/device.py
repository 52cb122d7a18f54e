"""Passes over tensors on GPUs: what `sweep.Sweep` is for arrays of the host, with one launch for each tensor.

Each tensor is passed over where it is: those of one sweep may be on several GPUs, which then work at the same time. As
with all of torch on a GPU, a pass may go on after its call has returned; what torch does there next waits for it. Triton takes
numbers of Python alone, not those of NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedkseed.federation import Pool
from fedkseed.pool.seed_pool import UNITS, check_exact
from fedkseed.pool.sweep import hadamard_table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """One flat tensor of the layout, wherever it is: its first tile, what it is read from and written to."""

    first_tile: int
    base: torch.Tensor  # shape (n,): float32, float16 or bfloat16
    out: torch.Tensor  # the same, on the same device; may be `base` itself


class DeviceSweep:
    """Rebuilds, perturbs and steps a set of flat tensors in place; does what `sweep.Sweep` does, bit for bit.

    Args:
        pool: the seed pool.
        spans: the tensors, in layout order.
    """

    def __init__(self, pool: Pool, spans: Sequence[Placed]) -> None:
        from fedkseed.pool import triton_kernels  # noqa: PLC0415 - triton is optional

        self._kernels: Any = triton_kernels
        self._pool, self._spans = pool, spans
        self._unit, self._gaussian = UNITS[pool.family], pool.family == "gaussian"

    def materialise_(self, coefficients: NDArray[Any], tick: float, *, along: int = 0, shift: float = 0.0) -> None:
        """See Sweep.materialise_."""
        if coefficients.dtype == np.int64:
            check_exact(self._pool, coefficients)
        if self._pool.family == "hadamard":
            tables = self._everywhere(hadamard_table(self._pool, coefficients, tick, along, shift))
            for span in self._spans:
                self._launch_(self._kernels.hadamard_, span, tables[span.base.device], self._pool.size)
            return
        indices = np.flatnonzero(coefficients)
        which, how_often = self._everywhere(indices), self._everywhere(coefficients[indices])
        numbers = self._everywhere(np.array([tick * self._unit, shift * self._unit]))
        for span in self._spans:
            device = span.base.device
            sums = which[device], how_often[device], indices.size, numbers[device]
            self._launch_(self._kernels.rebuild_, span, *sums, int(along), self._gaussian, bool(shift))

    def step_(self, last: int, move: float, along: int, shift: float) -> None:
        """See Sweep.step_."""
        moved, shifted = (float(np.float32(number * self._unit)) for number in (move, shift))
        for span in self._spans:
            self._launch_(self._kernels.step_, span, int(last), moved, int(along), shifted, self._gaussian, bool(moved))

    def _launch_(self, kernel: Any, span: Placed, *rest: Any) -> None:
        self._kernels.launch_(kernel, span.base, span.out, span.first_tile, self._pool.seed, *rest)

    def _everywhere(self, numbers: NDArray[Any]) -> dict[torch.device, torch.Tensor]:
        """One copy on every device that has a tensor; nobody waits for what a GPU does before it takes it."""
        line = torch.from_numpy(numbers)
        return {device: line.to(device, non_blocking=True) for device in {span.base.device for span in self._spans}}
