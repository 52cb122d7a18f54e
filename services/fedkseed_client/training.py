"""What a client does with an assignment: draws directions and batches, and measures.

What is random comes from (root seed, client, base version) alone: a client that is restarted measures the same again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from fedkseed.pool import importance
from fedkseed.zo.estimator import batch_count
from fedkseed.zo.materialise import Working
from fedkseed.zo.trainer import Measured, train
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment

Encoded = TypeVar("Encoded")
Batch = TypeVar("Batch")


def measure(
    assignment: Assignment,
    *,
    weights: Working,
    prepare: Callable[[Sequence[Encoded]], Batch],
    loss: Callable[[Batch], torch.Tensor | float],
    examples: Sequence[Encoded],
    generator: np.random.Generator,
) -> Measured:
    """Take the steps that a round asks for.

    Args:
        assignment: the version to start from, and the round's settings.
        weights: of the working model.
        prepare: arranges a batch, once for all of its losses.
        loss: mean loss of the working model on such a batch.
        examples: the client's data; never empty.
        generator: the only source of chance.
    """
    round_ = assignment.round
    size = len(assignment.coefficients)
    odds = None if round_.importance is None else importance.probabilities(importance.unpack(round_.importance, size))
    return train(
        weights,
        loss,
        map(prepare, batches(examples, batch_count(round_.steps, round_.directions_per_batch), round_.batch, generator)),
        coefficients=assignment.coefficients,
        directions=generator.choice(size, round_.steps, p=odds),
        per_batch=round_.directions_per_batch,
        eps=round_.eps,
        lr=round_.lr,
    )


def told(assignment: Assignment, measured: Measured, seconds: float) -> Trained:
    """What was measured, as an event: pairs as they travel, the loss as float32 holds it."""
    return Trained(
        base=assignment.base,
        k=measured.seed_indices.tobytes(),
        g=measured.gradients.tobytes(),
        loss=float(np.float32(measured.loss)),
        seconds=seconds,
        skipped=measured.skipped,
    )


def generator(seed: int, client: str, base: int) -> np.random.Generator:
    """The chance of one client at one version."""
    name = int.from_bytes(hashlib.sha256(client.encode()).digest()[:8], "little")
    return np.random.default_rng(np.random.SeedSequence([seed, name, base]))


def batches(examples: Sequence[Encoded], count: int, size: int, generator: np.random.Generator) -> Iterator[Sequence[Encoded]]:
    """Batches without replacement, epoch after epoch, each epoch in a new order."""
    order: list[int] = []
    for _ in range(count):
        while len(order) < min(size, len(examples)):
            order += generator.permutation(len(examples)).tolist()
        batch, order = order[:size], order[size:]
        yield [examples[i] for i in batch]
