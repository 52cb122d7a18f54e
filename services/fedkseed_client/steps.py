"""How long the two parts of local training take, seen from its losses: between two of them weights are written.

What makes a batch ready counts as writing. A GPU works on after it was asked; there it is the time until it was asked, and
that of waiting counts as writing.
"""

import time
from collections.abc import Callable
from typing import TypeVar

Batch = TypeVar("Batch")
Loss = TypeVar("Loss")
Stepped = Callable[[float, float], None]  # told seconds of forward passes and of writing weights, for each batch


def timed(
    loss: Callable[[Batch], Loss], stepped: Stepped, *, directions: int = 1, clock: Callable[[], float] = time.monotonic
) -> Callable[[Batch], Loss]:
    """The same loss, for one training that begins now; a batch takes one call of it more than it has directions.

    Args:
        loss: mean loss of the working model on a batch.
        stepped: told of every batch.
        directions: of a batch.
        clock: seconds that only grow.
    """
    began = clock()
    spent: list[tuple[float, float]] = []

    def measured(batch: Batch) -> Loss:
        nonlocal began
        written = clock()
        value = loss(batch)
        ended = clock()
        spent.append((ended - written, written - began))
        began = ended
        if len(spent) == directions + 1:
            forward, writing = zip(*spent, strict=True)
            spent.clear()
            stepped(sum(forward), sum(writing))
        return value

    return measured
