"""The projected gradient of a loss along one direction, from two evaluations.

On both sides of the weights: SPSA (Spall 1992, Malladi et al. 2023). On one side, against a loss at the weights themselves
that other directions share: forward differences, off by the order of the perturbation (Nesterov and Spokoiny 2017).
"""

import math

import numpy as np

MAX_SCALAR = 32768.0  # the ledger takes no larger scalar gradient


def batch_count(steps: int, per_batch: int) -> int:
    """Batches that so many steps take; the last may have fewer directions."""
    return -(-steps // per_batch)


def evaluations(steps: int, per_batch: int) -> int:
    """Forward passes of a batch that so many steps take: one each, and one more for each batch."""
    return steps + batch_count(steps, per_batch)


def projected_gradient(further: float, nearer: float, distance: float) -> np.float16 | None:
    """(L(w + b z) - L(w + a z)) / (b - a), as it travels; None where no usable scalar comes out.

    Args:
        further: the loss at w + b z.
        nearer: the loss at w + a z.
        distance: b - a: twice the perturbation for two-sided differences, once for one-sided ones.
    """
    gradient = (further - nearer) / distance
    if not math.isfinite(gradient) or abs(gradient) > MAX_SCALAR:
        return None
    return np.float16(gradient)
