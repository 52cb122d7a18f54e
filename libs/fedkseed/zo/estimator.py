"""The projected gradient of a loss along one direction, from two evaluations (SPSA; Spall 1992, Malladi et al. 2023)."""

import math

import numpy as np

MAX_SCALAR = 32768.0  # the ledger takes no larger scalar gradient


def projected_gradient(plus: float, minus: float, eps: float) -> np.float16 | None:
    """(L(w + eps z) - L(w - eps z)) / (2 eps), as it travels; None where no usable scalar comes out.

    Args:
        plus: the loss at w + eps z.
        minus: the loss at w - eps z.
        eps: the size of the perturbation.
    """
    gradient = (plus - minus) / (2 * eps)
    if not math.isfinite(gradient) or abs(gradient) > MAX_SCALAR:
        return None
    return np.float16(gradient)
