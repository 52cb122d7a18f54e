"""The seed pool written for reading: plain NumPy, one tile at a time, slow.

Philox4x32-10 is Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11). The fast version is `kernels`;
a test holds the two together.
"""

import numpy as np
from numpy.typing import NDArray

from fedkseed.federation import Pool
from fedkseed.pool.seed_pool import GAUSSIAN, MASKS, RADEMACHER, SIGNS, TILE, UNITS, key

Words = NDArray[np.uint32]


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of many counters at once: four words in, four words out, each of one shape."""
    c0, c1, c2, c3 = (np.asarray(c, dtype=np.uint64) for c in counter)
    k0, k1 = key
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        left, right = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (right >> np.uint64(32)) ^ c1 ^ np.uint64(k0), right & low
        c2, c3 = (left >> np.uint64(32)) ^ c3 ^ np.uint64(k1), left & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0.astype(np.uint32), c1.astype(np.uint32), c2.astype(np.uint32), c3.astype(np.uint32)


def plane(pool: Pool, tile: int, k: int, domain: int, p: int) -> NDArray[np.int64]:
    """One random bit per position of a tile, shape (4096,)."""
    q = np.arange(32, dtype=np.uint32)
    same = np.ones_like(q)
    counter = (same * np.uint32(tile), q + np.uint32(32 * p), same * np.uint32(k), same * np.uint32(domain))
    words = np.concatenate(philox(counter, key(pool)))
    return ((words[None, :] >> np.arange(32, dtype=np.uint32)[:, None]) & 1).astype(np.int64).reshape(TILE)


def columns(pool: Pool, tile: int) -> NDArray[np.int64]:
    """The masked Hadamard column c of every position of a tile, shape (4096,)."""
    position = np.arange(tile * TILE, (tile + 1) * TILE, dtype=np.int64)
    block = (position // pool.size).astype(np.uint32)
    zero = np.zeros_like(block)
    mask = philox((block, zero, zero, zero + np.uint32(MASKS)), key(pool))[0].astype(np.int64) % pool.size
    return (position % pool.size) ^ mask


def direction(pool: Pool, k: int, tile: int) -> NDArray[np.int64]:
    """z_k on one tile, in units, shape (4096,)."""
    match pool.family:
        case "rademacher":
            return 1 - 2 * plane(pool, tile, k, RADEMACHER, 0)
        case "gaussian":
            bits = [plane(pool, tile, k, GAUSSIAN, p) for p in range(16)]
            total: NDArray[np.int64] = np.sum(bits, axis=0) - 8
            return total
        case "hadamard":
            parity: NDArray[np.int64] = np.bitwise_count(columns(pool, tile) & k).astype(np.int64) & 1
            return (1 - 2 * plane(pool, tile, 0, SIGNS, 0)) * (1 - 2 * parity)


def displacement(pool: Pool, coefficients: NDArray[np.int64], tile: int) -> NDArray[np.int64]:
    """S = sum_k a_k z_k on one tile, in units, exact, shape (4096,)."""
    total = np.zeros(TILE, dtype=np.int64)
    for k in np.flatnonzero(coefficients):
        total += coefficients[k] * direction(pool, int(k), tile)
    return total


def weights(
    pool: Pool, base: NDArray[np.float32], first_tile: int, coefficients: NDArray[np.int64], tick: float
) -> NDArray[np.float32]:
    """W = base - S * (tick * unit) over a flat tensor, before the cast to its stored dtype, shape of `base`."""
    tiles = -(-base.size // TILE)
    total = np.concatenate([displacement(pool, coefficients, first_tile + t) for t in range(tiles)])[: base.size]
    delta = (total.astype(np.float64) * (tick * UNITS[pool.family])).astype(np.float32)
    return base - delta
