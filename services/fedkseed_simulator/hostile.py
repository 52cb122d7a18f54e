"""Clients of a simulation that send something else than they measured."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedkseed.federation import Hostile
from fedkseed_client.events import Trained

HUGE = 32768.0  # the largest scalar that a ledger takes


def attacked(trained: Trained, hostile: Iterable[Hostile], client: str) -> Trained:
    """What a client sends instead of what it measured; an honest one sends that."""
    for each in hostile:
        if each.who == client:
            honest = np.frombuffer(trained.g, "<f2").astype(np.float64)
            false = np.clip(_false(each, honest), -HUGE, HUGE)  # which leaves what is not a number
            trained = replace(trained, g=false.astype("<f2").tobytes())
    return trained


def _false(hostile: Hostile, honest: NDArray[np.float64]) -> NDArray[np.float64]:
    match hostile.attack:
        case "huge":
            return np.full_like(honest, HUGE)
        case "nan":
            return np.full_like(honest, np.nan)
        case "sign-flip":
            return -honest
        case "constant":
            return np.full_like(honest, hostile.factor)
        case "scaled":
            return hostile.factor * honest
