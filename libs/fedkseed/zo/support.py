"""The sparse support: the few parameters that matter most, chosen once from the base model.

Chosen are the positions with the largest squared gradients of the language-model loss on public text (the diagonal of
the empirical Fisher information; Guo et al. 2024, "Zeroth-order fine-tuning of LLMs with extreme sparsity").
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fedkseed.errors import FileError, SupportMismatch
from fedkseed.zo.layout import Support


def squared_gradients(parameters: Mapping[str, torch.Tensor], losses: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Sum the squared gradients of several losses, per parameter; float32, shapes of the parameters."""
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total.addcmul_(gradient.float(), gradient.float())
    return sums


def largest(scores: Mapping[str, torch.Tensor], fraction: float) -> Support:
    """The positions of the largest scores over all tensors together; ties go to the earlier position."""
    total = sum(score.numel() for score in scores.values())
    count = max(1, round(total * fraction))
    line = np.concatenate([scores[name].reshape(-1).numpy() for name in sorted(scores)])
    threshold = np.partition(line, total - count)[total - count]
    chosen = line > threshold
    chosen[np.flatnonzero(line == threshold)[: count - int(chosen.sum())]] = True
    support, start = {}, 0
    for name in sorted(scores):
        positions = np.flatnonzero(chosen[start : start + scores[name].numel()])
        start += scores[name].numel()
        if positions.size:
            support[name] = positions
    return support


def write(path: Path, support: Support) -> None:
    """Write `support.safetensors`: one int64 vector of positions per tensor; whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        save_file({name: np.ascontiguousarray(positions) for name, positions in support.items()}, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{path}: cannot be written: {error}") from error


def read(path: Path) -> Support:
    """Read a support.

    Raises:
        SupportMismatch: the file is missing or is none.
    """
    try:
        support = load_file(path)
    except OSError as error:
        raise SupportMismatch(f"support {path}: cannot be read") from error
    except SafetensorError as error:
        raise SupportMismatch(f"support {path}: {error}") from error
    for name, positions in support.items():
        if positions.dtype != np.int64 or positions.ndim != 1:
            raise SupportMismatch(f"support {path}: tensor {name} is not a vector of int64 positions")
    return support
