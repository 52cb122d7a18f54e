"""Who passes over tensors: the compiled kernels of the processor where they are in the host's memory, Triton's on GPUs.

A GPU is not taken at its word: before the first pass on it, its kernels must give the processor's bits on a small tensor.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedkseed.errors import SettingError
from fedkseed.federation import Family, Pool
from fedkseed.pool.device import DeviceSweep, Placed
from fedkseed.pool.sweep import Span, Sweep
from fedkseed.zo.layout import TORCH_DTYPES, flat


class Passes(Protocol):
    """What can be done in one pass over a set of tensors; `pool.sweep.Sweep` says what the arguments are."""

    def materialise_(self, coefficients: NDArray[Any], tick: float, *, along: int = 0, shift: float = 0.0) -> None:
        """Write out = base - sum_k a_k z_k * tick + shift * z_along."""

    def step_(self, last: int, move: float, along: int, shift: float) -> None:
        """For unstructured families: base -= move * z_last (float32, in place), then out = base + shift * z_along."""


def find(name: str | None = None) -> torch.device:
    """The device of that name; without one, the GPU that torch would take, or the processor where no GPU can be used.

    Raises:
        SettingError: torch finds no such device, or there are no kernels for it.
    """
    kernels = find_spec("triton") is not None
    if name is None:
        usable = torch.cuda.is_available() and kernels
        return torch.device("cuda", torch.cuda.current_device()) if usable else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(f"device {name}: not a name of a device") from error
    if device.type not in {"cpu", "cuda"}:
        raise SettingError(f"device {name}: only cpu and cuda can be used")
    if device.type == "cuda" and not kernels:
        raise SettingError(f"device {name}: triton is not installed: pip install 'fedkseed[gpu]'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(f"device {name}: torch finds {torch.cuda.device_count()} GPUs")
    return device


Maker = Callable[[Pool, Sequence[Placed], int], Passes]  # the last: threads, where the processor does it


def suited(pool: Pool, tensors: Sequence[Placed], threads: int) -> Passes:
    """Those that suit the device of the tensors.

    Raises:
        SettingError: the kernels do not work exactly on that device.
    """
    devices = {tensor.base.device for tensor in tensors}
    if all(device.type == "cpu" for device in devices):
        return by_processor(pool, tensors, threads)
    for device in devices:
        check(device, pool.family)
    return by_device(pool, tensors)


def by_processor(pool: Pool, tensors: Sequence[Placed], threads: int) -> Passes:
    """Passes by the compiled kernels."""
    return Sweep(pool, [Span(first_tile=t.first_tile, base=flat(t.base), out=flat(t.out)) for t in tensors], threads)


def by_device(pool: Pool, tensors: Sequence[Placed], _threads: int = 0) -> Passes:
    """Passes by Triton's kernels."""
    return DeviceSweep(pool, tensors)


@cache
def check(device: torch.device, family: Family, make: Maker = by_device) -> None:
    """Compare a device's rebuild of small tensors with the processor's.

    Raises:
        SettingError: the bits differ.
    """
    if _tried(family, device, make) != _tried(family, torch.device("cpu"), by_processor):
        raise SettingError(f"device {device}: its weights are not, bit for bit, those of the processor; take cpu instead")


def _tried(family: Family, device: torch.device, make: Maker) -> bytes:
    """The bits of a perturbed version of small tensors of all dtypes."""
    values = torch.linspace(-3, 3, 5000, dtype=torch.float64).float().to(device)
    outs = [torch.empty_like(values, dtype=dtype) for dtype in TORCH_DTYPES.values()]
    coefficients = np.zeros(128, np.int64)
    coefficients[[3, 70]] = 2**40 + 1, -(2**39)
    placed = [Placed(first_tile=2 * i, base=values, out=out) for i, out in enumerate(outs)]
    make(Pool(family=family, size=128, seed=7), placed, 1).materialise_(coefficients, 3e-13, along=9, shift=1e-3)
    return b"".join(out.cpu().view(torch.uint8).numpy().tobytes() for out in outs)
