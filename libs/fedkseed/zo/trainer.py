"""Local zeroth-order training: tau steps of two forward passes, whose whole result is (seed index, scalar) pairs.

Qin et al. 2024, Algorithm 1, client side. A scalar is rounded to float16 before it is applied, so that client and
server add the same numbers; a step without a usable scalar moves nothing and is counted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedkseed.zo.estimator import projected_gradient
from fedkseed.zo.materialise import Working

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What local training measured."""

    seed_indices: NDArray[np.uint16]  # shape (tau - skipped,)
    gradients: NDArray[np.float16]  # shape (tau - skipped,)
    loss: float  # mean of all finite evaluations; nan where there were none
    skipped: int


def train(
    weights: Working,
    loss: Callable[[Batch], torch.Tensor | float],
    batches: Iterable[Batch],
    *,
    coefficients: NDArray[np.int64],
    directions: NDArray[np.integer],
    eps: float,
    lr: float,
) -> Measured:
    """Take one local step per direction and batch, starting from the weights at `coefficients`.

    Args:
        weights: the working model's weights; left perturbed.
        loss: mean loss of the working model on a batch; a scalar tensor is read when both losses of a step are there.
        batches: one per step.
        coefficients: the version to start from, int64 ticks, shape (K,).
        directions: seed indices, shape (tau,).
        eps: the size of the perturbation.
        lr: eta, the size of a step.
    """
    here = weights.local(coefficients)
    pairs: list[tuple[int, np.float16]] = []
    losses: list[float] = []
    for k, batch in zip(map(int, directions), batches, strict=True):
        here.perturb_(k, eps)
        above = loss(batch)
        here.perturb_(k, -eps)
        plus, minus = _read(above, loss(batch))
        losses += [plus, minus]
        gradient = projected_gradient(plus, minus, eps)
        if gradient is not None:
            here.move_(k, lr / weights.tick * float(gradient))
            pairs.append((k, gradient))
    finite = [value for value in losses if np.isfinite(value)]
    return Measured(
        seed_indices=np.array([k for k, _ in pairs], dtype="<u2"),
        gradients=np.array([g for _, g in pairs], dtype="<f2"),
        loss=float(np.mean(finite)) if finite else float("nan"),
        skipped=len(directions) - len(pairs),
    )


def _read(*losses: torch.Tensor | float) -> list[float]:
    """Bring losses to the host, in one transfer and exactly."""
    numbers: list[float] = torch.stack([torch.as_tensor(loss, dtype=torch.float64) for loss in losses]).tolist()
    return numbers
