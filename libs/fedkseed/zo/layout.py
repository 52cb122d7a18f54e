"""The parameter layout: which tensors are trained, in which order, at which place of the index space, and their digests.

Trainable tensors come sorted by name; a tied tensor counts once, under the name that `named_parameters()` gives it. The
founder's list is written into the genesis and everyone follows it. With a sparse support each tensor is represented by
the compact vector of its selected values, and tensors without any take no room; the base digest covers them all the same.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedkseed.errors import BaseError, BaseMismatch, SupportMismatch
from fedkseed.federation import Pool
from fedkseed.genesis import Dtype, TensorSpec
from fedkseed.pool.seed_pool import TILE, alignment

Support = Mapping[str, NDArray[np.int64]]  # tensor name -> sorted flat positions
TORCH_DTYPES: dict[Dtype, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LINE = 64  # bytes: tensors begin at multiples, as torch has them, because that may decide how a product is summed
_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """One tensor's place in the global index space."""

    spec: TensorSpec
    first_tile: int
    positions: torch.Tensor | None  # int64 flat positions; None: the whole tensor


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters by name, sorted, each tied tensor once."""
    return dict(sorted((name, p) for name, p in model.named_parameters() if p.requires_grad))


def describe(parameters: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    """Write down the layout of a base, as its founder does.

    Raises:
        BaseError: a tensor is stored in a dtype that has no exact rebuild.
    """
    for name, tensor in parameters.items():
        if tensor.dtype not in _NAMES:
            raise BaseError(f"tensor {name}: stored as {tensor.dtype}; only float32, float16 and bfloat16 can be trained")
    return tuple(
        TensorSpec(name=name, shape=tuple(tensor.shape), dtype=_NAMES[tensor.dtype])
        for name, tensor in sorted(parameters.items())
    )


def check_layout(layout: tuple[TensorSpec, ...], parameters: Mapping[str, torch.Tensor]) -> None:
    """Compare a base with the layout of a genesis.

    Raises:
        BaseMismatch: the first tensor that is missing, additional or different.
    """
    found = {spec.name: spec for spec in describe(parameters)}
    for spec in layout:
        if spec.name not in found:
            raise BaseMismatch(f"tensor {spec.name}: in the genesis, but not in this base")
        if found[spec.name] != spec:
            other = found[spec.name]
            raise BaseMismatch(
                f"tensor {spec.name}: {other.dtype} of shape {list(other.shape)} in this base, "
                f"{spec.dtype} of shape {list(spec.shape)} in the genesis"
            )
    if extra := sorted(found.keys() - {spec.name for spec in layout}):
        raise BaseMismatch(f"tensor {extra[0]}: in this base, but not in the genesis")


def place(pool: Pool, layout: tuple[TensorSpec, ...], support: Support | None = None) -> tuple[Slot, ...]:
    """Give every tensor its first tile.

    Raises:
        SupportMismatch: the support names an unknown tensor or a position outside of one.
    """
    if support is not None:
        _check_support(layout, support)
    slots, offset, step = [], 0, alignment(pool)
    for spec in layout:
        positions = None if support is None else support.get(spec.name)
        if support is not None and (positions is None or positions.size == 0):
            continue
        slots.append(
            Slot(spec=spec, first_tile=offset // TILE, positions=None if positions is None else torch.from_numpy(positions))
        )
        size = int(np.prod(spec.shape, dtype=np.int64)) if positions is None else positions.size
        offset += -(-size // step) * step
    return tuple(slots)


def _check_support(layout: tuple[TensorSpec, ...], support: Support) -> None:
    sizes = {spec.name: int(np.prod(spec.shape, dtype=np.int64)) for spec in layout}
    for name, positions in support.items():
        if name not in sizes:
            raise SupportMismatch(f"support: tensor {name} is not in the layout")
        if positions.size and (positions[0] < 0 or positions[-1] >= sizes[name] or np.any(np.diff(positions) <= 0)):
            raise SupportMismatch(f"support: positions of tensor {name} are not sorted, unique and inside it")


def weights_digest(layout: tuple[TensorSpec, ...], tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex SHA-256 over tensors in their stored dtype, wherever they are: of the base, or of a version's weights."""
    digest = hashlib.sha256()
    for spec in layout:
        digest.update(spec.name.encode() + b"\0" + spec.dtype.encode() + b"\0")
        digest.update(struct.pack(f"<{len(spec.shape)}Q", *spec.shape))
        digest.update(flat(tensors[spec.name].cpu()).data)
    return digest.hexdigest()


def support_digest(support: Support) -> str:
    """Hex SHA-256 over a support: names, counts and positions, tensors sorted by name."""
    digest = hashlib.sha256()
    for name, positions in sorted(support.items()):
        digest.update(name.encode() + b"\0" + struct.pack("<Q", positions.size) + positions.astype("<u8").tobytes())
    return digest.hexdigest()


def flat(tensor: torch.Tensor) -> NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint16]:
    """A CPU tensor's memory as a flat array; bfloat16 as its bit patterns.

    Raises:
        BaseError: the tensor's memory is not contiguous.
    """
    if not tensor.is_contiguous():
        raise BaseError(f"a tensor of shape {list(tensor.shape)} is not contiguous in memory")
    line = tensor.detach().view(-1)
    array: NDArray[np.float32] = (line.view(torch.uint16) if line.dtype == torch.bfloat16 else line).numpy()
    return array
