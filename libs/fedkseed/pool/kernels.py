"""CPU kernels of the seed pool: one streaming pass over flat tensors, compiled by numba, released from the GIL.

Rules kept here: a tile is the unit of work, and in it a row of 128 positions, which share a bit position (`plane`) and lie in
one Hadamard block; every float operation rounds on its own (no fastmath, no contraction), so that results are those of
`reference` bit for bit; a zero displacement is +0.0 and therefore leaves even a weight of -0.0 as it is; bits are tested, not
shifted out, because a shift by a variable is computed in 64 bits here, half as many at a time.

A flat tensor comes as two arrays of which one is used: its float32 values, or its 16-bit patterns.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from fedkseed.pool.seed_pool import TILE

F32, F16, BF16 = range(3)  # how a tensor is stored
ROW: Final = 128
Array = Any  # numba infers the types; see the docstrings


@njit(cache=True, nogil=True)
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, key0: Any, key1: Any) -> Any:
    """Philox4x32-10 of one counter: four uint32."""
    k0, k1 = np.uint32(key0), np.uint32(key1)
    for _ in range(10):
        left = np.uint64(c0) * np.uint64(0xD2511F53)
        right = np.uint64(c2) * np.uint64(0xCD9E8D57)
        c0, c1 = np.uint32(np.uint32(right >> np.uint64(32)) ^ c1 ^ k0), np.uint32(right)
        c2, c3 = np.uint32(np.uint32(left >> np.uint64(32)) ^ c3 ^ k1), np.uint32(left)
        k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
        k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
    return c0, c1, c2, c3


@njit(cache=True, nogil=True)
def plane_(words: Array, tile: Any, k: Any, domain: Any, p: Any, key0: Any, key1: Any) -> None:
    """Fill words (uint32[128]) with plane(tile, k, domain, p): bit j of word t belongs to position 128 j + t."""
    for q in range(32):
        counter = np.uint32(tile), np.uint32(q + 32 * p), np.uint32(k), np.uint32(domain)
        words[q], words[32 + q], words[64 + q], words[96 + q] = _philox(*counter, key0, key1)


@njit(cache=True, nogil=True)
def _mask(block: Any, size: Any, key0: Any, key1: Any) -> Any:
    """m_b: the mask of one Hadamard block."""
    first, _, _, _ = _philox(np.uint32(block), np.uint32(0), np.uint32(0), np.uint32(1), key0, key1)
    return np.int64(first) % size


@njit(cache=True, nogil=True)
def _widen(single: Array, half: Array, kind: Any, start: Any, stop: Any, row: Array) -> Array:
    """At most a tile as float32: a view of `single`, or `row` filled from 16-bit patterns."""
    if kind == F32:
        return single[start:stop]
    n, bits = stop - start, row.view(np.uint32)
    source = half[start:stop]
    if kind == BF16:
        for t in range(n):
            bits[t] = np.uint32(source[t]) << np.uint32(16)
        return row[:n]
    for t in range(n):
        bits[t] = np.uint32(source[t] & np.uint16(0x7FFF)) << np.uint32(13)
    for t in range(n):
        row[t] = row[t] * np.float32(2.0**112)  # rebias the exponent; exact, subnormals included
    for t in range(n):
        special = (source[t] & np.uint16(0x7C00)) == np.uint16(0x7C00)
        sign = np.uint32(source[t] & np.uint16(0x8000)) << np.uint32(16)
        bits[t] |= (np.uint32(0x7F800000) if special else np.uint32(0)) | sign
    return row[:n]


@njit(cache=True, nogil=True)
def _narrow_(half: Array, kind: Any, start: Any, stop: Any, row: Array, small: Array) -> None:
    """Round at most a tile to 16 bits, half to even; small is scratch of its size."""
    n, bits, small_bits = stop - start, row.view(np.uint32), small.view(np.uint32)
    target = half[start:stop]
    if kind == BF16:
        for t in range(n):
            u = bits[t]
            rounded = (u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            target[t] = np.uint16(0x7FC0) if (u & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else np.uint16(rounded)
        return
    for t in range(n):
        small[t] = np.abs(row[t]) + np.float32(0.5)  # lines a subnormal half's last bit up with the last bit of 0.5
    for t in range(n):
        u = np.uint32(bits[t] & np.uint32(0x7FFFFFFF))
        odd = np.uint32((u >> np.uint32(13)) & np.uint32(1))
        normal = np.uint32(np.uint32(u - np.uint32(0x38000000 - 0xFFF) + odd) >> np.uint32(13))
        value = normal if u >= np.uint32(0x38800000) else np.uint32(small_bits[t] - np.uint32(0x3F000000))
        large = np.uint32(0x7E00) if u > np.uint32(0x7F800000) else np.uint32(0x7C00)
        value = large if u >= np.uint32(0x47800000) else value
        target[t] = np.uint16(value | np.uint32((bits[t] >> np.uint32(16)) & np.uint32(0x8000)))


@njit(cache=True, nogil=True)
def permuted(table: Array) -> Array:
    """The 128 copies of a table (float32[K]) whose columns are XORed by 0..127, float32[128, K]."""
    copies = np.empty((ROW, table.size), dtype=np.float32)
    for low in range(ROW):
        for start in range(0, table.size, ROW):
            for t in range(ROW):
                copies[low, start + t] = table[start + (t ^ low)]
    return copies


@njit(cache=True, nogil=True)
def hadamard_(
    base: Array,
    base_half: Array,
    base_kind: Any,
    out: Array,
    out_half: Array,
    out_kind: Any,
    first: Any,
    begin: Any,
    end: Any,
    copies: Array,
    key0: Any,
    key1: Any,
) -> None:
    """Out = base - s * table[c] over tiles [begin, end) of a flat tensor whose first tile is `first`."""
    length, size, words = max(base.size, base_half.size), copies.shape[1], np.empty(ROW, dtype=np.uint32)
    wide, result, small = _scratch()
    mask = np.int64(0)
    for tile in range(begin, end):
        start = (np.int64(tile) - np.int64(first)) * TILE
        stop = min(start + TILE, length)
        values = _widen(base, base_half, base_kind, start, stop, wide)
        target = out[start:stop] if out_kind == F32 else result[: stop - start]
        plane_(words, tile, 0, 0, 0, key0, key1)
        for j in range(-(-(stop - start) // ROW)):
            position = np.int64(tile) * TILE + ROW * j
            if j == 0 or position & (size - 1) == 0:
                mask = _mask(position // size, size, key0, key1)
            column = (position & (size - 1)) ^ (mask & ~np.int64(ROW - 1))
            deltas = copies[mask & (ROW - 1), column : column + ROW]
            before, after, bit = values[ROW * j : ROW * (j + 1)], target[ROW * j : ROW * (j + 1)], np.uint32(1 << j)
            for t in range(before.size):  # in place, not a function: at each call the arrays would be compared for overlap
                delta = -deltas[t] if (words[t] & bit) != 0 else deltas[t]
                after[t] = before[t] - (delta + np.float32(0.0))
        if out_kind != F32:
            _narrow_(out_half, out_kind, start, stop, result, small)


@njit(cache=True, nogil=True)
def _scratch() -> Any:
    """Room for three tiles of float32."""
    return np.empty(TILE, dtype=np.float32), np.empty(TILE, dtype=np.float32), np.empty(TILE, dtype=np.float32)


@njit(cache=True, nogil=True)
def _direction_(z: Array, words: Array, tile: Any, k: Any, gaussian: Any, key0: Any, key1: Any) -> None:
    """Fill z (int8[4096]) with one tile of an unstructured direction, in units; words is scratch, uint32[6, 128]."""
    if not gaussian:
        plane_(words[5], tile, k, 2, 0, key0, key1)
        for j in range(32):
            bit = np.uint32(1 << j)
            for t in range(ROW):
                z[ROW * j + t] = np.int8(-1) if (words[5, t] & bit) != 0 else np.int8(1)
        return
    words[:5] = 0  # five words per position count to sixteen: a bit-sliced sum of planes
    for p in range(16):
        plane_(words[5], tile, k, 3, p, key0, key1)
        for t in range(ROW):
            carry = words[5, t]
            for level in range(5):
                held = words[level, t]
                words[level, t] = held ^ carry
                carry = held & carry
    for j in range(32):
        bit = np.uint32(1 << j)
        for t in range(ROW):
            total = np.int8(-8)
            for level in range(5):
                total += np.int8(1 << level) if (words[level, t] & bit) != 0 else np.int8(0)
            z[ROW * j + t] = total


@njit(cache=True, nogil=True)
def displacement_(
    sums: Array, z: Array, words: Array, tile: Any, indices: Array, coefficients: Array, gaussian: Any, key0: Any, key1: Any
) -> None:
    """Fill sums (int64[4096]) with sum_k a_k z_k of one tile over the listed indices; z and words are scratch."""
    sums[:] = 0
    for i in range(indices.size):
        _direction_(z, words, tile, indices[i], gaussian, key0, key1)
        a = coefficients[i]
        for t in range(TILE):
            sums[t] += a * np.int64(z[t])


@njit(cache=True, nogil=True)
def rebuild_(
    base: Array,
    base_half: Array,
    base_kind: Any,
    out: Array,
    out_half: Array,
    out_kind: Any,
    first: Any,
    begin: Any,
    end: Any,
    indices: Array,
    coefficients: Array,
    scale: Any,
    along: Any,
    shift: Any,
    gaussian: Any,
    key0: Any,
    key1: Any,
) -> None:
    """Out = base - (S * scale - shift * z_along) over tiles [begin, end), with an unstructured family."""
    length = max(base.size, base_half.size)
    sums, z, words = np.empty(TILE, dtype=np.int64), np.zeros(TILE, dtype=np.int8), np.empty((6, ROW), dtype=np.uint32)
    wide, result, small = _scratch()
    for tile in range(begin, end):
        start = (np.int64(tile) - np.int64(first)) * TILE
        stop = min(start + TILE, length)
        displacement_(sums, z, words, tile, indices, coefficients, gaussian, key0, key1)
        if shift != 0.0:
            _direction_(z, words, tile, along, gaussian, key0, key1)
        else:
            z[:] = 0
        values = _widen(base, base_half, base_kind, start, stop, wide)
        target = out[start:stop] if out_kind == F32 else result[: stop - start]
        for t in range(stop - start):
            delta = np.float64(sums[t]) * scale - shift * np.float64(z[t])
            target[t] = values[t] - (np.float32(delta) + np.float32(0.0))
        if out_kind != F32:
            _narrow_(out_half, out_kind, start, stop, result, small)


@njit(cache=True, nogil=True)
def step_(
    master: Array,
    _half: Array,
    _kind: Any,
    out: Array,
    out_half: Array,
    out_kind: Any,
    first: Any,
    begin: Any,
    end: Any,
    last: Any,
    move: Any,
    along: Any,
    shift: Any,
    gaussian: Any,
    key0: Any,
    key1: Any,
) -> None:
    """Restore, update and perturb in one pass: master -= move * z_last; out = master + shift * z_along; master is float32."""
    z, words = np.zeros(TILE, dtype=np.int8), np.empty((6, ROW), dtype=np.uint32)
    _, result, small = _scratch()
    moved, shifted = np.float32(move), np.float32(shift)
    for tile in range(begin, end):
        start = (np.int64(tile) - np.int64(first)) * TILE
        stop = min(start + TILE, master.size)
        values = master[start:stop]
        if moved != 0:
            _direction_(z, words, tile, last, gaussian, key0, key1)
            for t in range(stop - start):
                values[t] -= moved * np.float32(z[t])
        _direction_(z, words, tile, along, gaussian, key0, key1)
        target = out[start:stop] if out_kind == F32 else result[: stop - start]
        for t in range(stop - start):
            target[t] = values[t] + shifted * np.float32(z[t])
        if out_kind != F32:
            _narrow_(out_half, out_kind, start, stop, result, small)
