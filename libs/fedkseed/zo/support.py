"""The sparse support: the few parameters that matter most, chosen once from the base model.

On a text, by the language-model loss: the positions with the largest squared gradients (the diagonal of the empirical Fisher
information; Guo et al. 2024, "Zeroth-order fine-tuning of LLMs with extreme sparsity"). On examples, by the objective: among
those, the positions whose gradients agree most from batch to batch (the gradient's signal-to-noise ratio; Liu et al. 2020,
"Understanding why neural networks generalize well through GSNR of parameters"). A direction on such positions says less of
what single examples want, and more of what is to be learned.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fedkseed.errors import FileError, SupportMismatch
from fedkseed.zo.layout import Support

CANDIDATES = 10  # times as many positions as are chosen, by their squared gradients: of others even much agreement moves little


def squared_gradients(parameters: Mapping[str, torch.Tensor], losses: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Sum the squared gradients of several losses, per parameter; float32, shapes of the parameters."""
    sums = _zeros(parameters)
    for name, gradient in _gradients(parameters, losses):
        sums[name].addcmul_(gradient, gradient)
    return sums


def steadiest(parameters: Mapping[str, torch.Tensor], losses: Iterable[torch.Tensor], fraction: float) -> Support:
    """The positions whose gradients agree most over several losses: the largest (sum of g)^2 / (sum of g^2).

    Only the `CANDIDATES` times as many with the largest squared gradients are looked at.
    """
    sums, squares = _zeros(parameters), _zeros(parameters)
    for name, gradient in _gradients(parameters, losses):
        sums[name].add_(gradient)
        squares[name].addcmul_(gradient, gradient)
    agreement = _zeros(parameters)
    for name, positions in largest(squares, min(1.0, CANDIDATES * fraction)).items():
        at = torch.from_numpy(positions)
        signal, noise = (moment.view(-1)[at] for moment in (sums[name], squares[name]))
        agreement[name].view(-1)[at] = torch.where(noise > 0, signal.square() / noise, 0.0)
    return largest(agreement, fraction)


def _zeros(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(p.shape, dtype=torch.float32) for name, p in parameters.items()}


def _gradients(parameters: Mapping[str, torch.Tensor], losses: Iterable[torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """The gradients of one loss after the other, float32, by parameter."""
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        yield from ((name, g.float()) for name, g in zip(parameters, gradients, strict=True) if g is not None)


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
