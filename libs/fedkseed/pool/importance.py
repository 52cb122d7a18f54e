"""How important each seed has been, as four bits that travel with a round (FedKSeed-Pro, Qin et al. 2024, section 3.4).

Clients draw seeds with a probability that grows with the mean |scalar gradient| seen so far; quantising it to 16 levels
keeps p_max / p_min <= e and makes everybody draw from the same numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedkseed.errors import DecodeError

LEVELS = 15  # the highest level
CLIP = 1000.0  # |g| counts up to here
FIXED_POINT = 65536


def levels(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Quantise the mean |g| of every seed to 0 .. 15: m = sum / (n + 1), u = (m - min) / (max - min + 1e-10), q = round(15 u).

    Args:
        sums: int64[K], sum of |clip(g, +-1000)| in units of 1/65536.
        counts: int64[K], scalars seen.

    Returns:
        uint8[K].
    """
    means = sums.astype(np.float64) / FIXED_POINT / (counts.astype(np.float64) + 1.0)
    low, high = means.min(), means.max()
    q: NDArray[np.uint8] = np.rint(LEVELS * ((means - low) / (high - low + 1e-10))).astype(np.uint8)
    return q


def probabilities(q: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the distribution that clients draw seeds from, with replacement: softmax(q / 15), float64[K]."""
    weights = np.exp(q.astype(np.float64) / LEVELS)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def pack(q: NDArray[np.uint8]) -> bytes:
    """Write levels as nibbles, the low one first: ceil(K / 2) bytes."""
    even = np.zeros(len(q) + len(q) % 2, np.uint8)
    even[: len(q)] = q
    return (even[0::2] | (even[1::2] << 4)).astype(np.uint8).tobytes()


def unpack(data: bytes, size: int) -> NDArray[np.uint8]:
    """Read the levels of K seeds.

    Raises:
        DecodeError: the length is not ceil(K / 2), or a nibble beyond K is not zero.
    """
    if len(data) != -(-size // 2):
        raise DecodeError(f"importance: {len(data)} bytes for {size} seeds")
    octets = np.frombuffer(data, np.uint8)
    q = np.stack((octets & 15, octets >> 4), axis=1).reshape(-1)
    if q[size:].any():
        raise DecodeError(f"importance: a level beyond seed {size - 1}")
    return q[:size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How unequal the probabilities of seeds are."""

    entropy: float  # nats
    ratio: float  # of the entropy of equal probabilities, log K
    top: float  # probability of the most likely hundredth of the seeds, at least one, together


def spread(packed: bytes | None, size: int) -> Spread:
    """Say how unequal the probabilities are that clients draw K seeds with; without levels they are equal.

    Raises:
        DecodeError: the levels are not those of K seeds.
    """
    p = np.full(size, 1 / size) if packed is None else probabilities(unpack(packed, size))
    entropy = float(-(p * np.log(p)).sum())
    top = float(np.sort(p)[-max(1, -(-size // 100)) :].sum())
    return Spread(entropy=entropy, ratio=entropy / math.log(size) if size > 1 else 1.0, top=top)
