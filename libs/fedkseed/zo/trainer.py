"""Local zeroth-order training: tau steps, whose whole result is (seed index, scalar) pairs.

Qin et al. 2024, Algorithm 1, client side: two forward passes for each step, on either side of the weights. Or several
directions share a batch and its loss at the unperturbed weights, with one forward pass each and one more. A scalar is rounded
to float16 before it is applied, so that client and server add the same numbers; a step without a usable scalar moves nothing
and is counted.
"""

from collections.abc import Callable, Iterable, Iterator
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
    per_batch: int = 1,
    eps: float,
    lr: float,
) -> Measured:
    """Take one local step per direction, starting from the weights at `coefficients`.

    Args:
        weights: the working model's weights; left perturbed.
        loss: mean loss of the working model on a batch; a scalar tensor is read when all losses of the batch are there.
        batches: tau / `per_batch` of them, rounded up.
        coefficients: the version to start from, int64 ticks, shape (K,).
        directions: seed indices, shape (tau,).
        per_batch: how many share a batch. One is measured on both sides; several on one, all of them before any is followed.
        eps: the size of the perturbation.
        lr: eta, the size of a step.
    """
    here = weights.local(coefficients)
    pairs: list[tuple[int, np.float16]] = []
    losses: list[float] = []
    for group, batch in zip(_groups(directions, per_batch), batches, strict=True):
        nearer, distance = (-eps, 2 * eps) if per_batch == 1 else (0.0, eps)
        evaluated = []
        for k, shift in (*((k, eps) for k in group), (group[-1], nearer)):
            here.perturb_(k, shift)
            evaluated.append(loss(batch))
        *further, reference = _read(*evaluated)
        losses += [*further, reference]
        for k, value in zip(group, further, strict=True):
            gradient = projected_gradient(value, reference, distance)
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


def _groups(directions: NDArray[np.integer], size: int) -> Iterator[list[int]]:
    """Directions that share a batch, in turn."""
    yield from (directions[i : i + size].tolist() for i in range(0, len(directions), size))


def _read(*losses: torch.Tensor | float) -> list[float]:
    """Bring losses to the host, in one transfer and exactly."""
    numbers: list[float] = torch.stack([torch.as_tensor(loss, dtype=torch.float64) for loss in losses]).tolist()
    return numbers
