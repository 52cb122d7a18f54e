"""CPU kernels of the seed pool: one streaming pass over flat tensors, compiled by numba, released from the GIL.

Rules kept here: rows of 128 positions are the unit of work, because they share a bit position (`plane`) and lie in one
Hadamard block; every float operation rounds on its own (no fastmath, no contraction), so that results are those of
`reference` bit for bit; a zero displacement is +0.0 and therefore leaves even a weight of -0.0 as it is.

A flat tensor comes as two arrays of which one is used: its float32 values, or its 16-bit patterns.
"""

from typing import Any, Final

import numpy as np
from numba import njit

F32, F16, BF16 = range(3)  # how a tensor is stored
ROW: Final = 128
Array = Any  # numba infers the types; see the docstrings


@njit(cache=True, nogil=True)
def _philox_(c0: Array, c1: Array, c2: Array, c3: Array, key0: Any, key1: Any) -> None:
    """Philox4x32-10 in place on n counters; uint32[n] each."""
    k0, k1 = np.uint32(key0), np.uint32(key1)
    for _ in range(10):
        for i in range(c0.size):
            left = np.uint64(c0[i]) * np.uint64(0xD2511F53)
            right = np.uint64(c2[i]) * np.uint64(0xCD9E8D57)
            c0[i] = np.uint32(right >> np.uint64(32)) ^ c1[i] ^ k0
            c2[i] = np.uint32(left >> np.uint64(32)) ^ c3[i] ^ k1
            c1[i] = np.uint32(right)
            c3[i] = np.uint32(left)
        k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
        k1 = np.uint32(k1 + np.uint32(0xBB67AE85))


@njit(cache=True, nogil=True)
def plane_(words: Array, tile: Any, k: Any, domain: Any, p: Any, key0: Any, key1: Any) -> None:
    """Fill words (uint32[128]) with plane(tile, k, domain, p): bit j of word t belongs to position 128 j + t."""
    c0, c1, c2, c3 = words[0:32], words[32:64], words[64:96], words[96:128]
    for q in range(32):
        c0[q] = np.uint32(tile)
        c1[q] = np.uint32(q + 32 * p)
        c2[q] = np.uint32(k)
        c3[q] = np.uint32(domain)
    _philox_(c0, c1, c2, c3, key0, key1)


@njit(cache=True, nogil=True)
def _mask(words: Array, block: Any, size: Any, key0: Any, key1: Any) -> Any:
    """m_b: the mask of one Hadamard block; words is scratch."""
    c0, c1, c2, c3 = words[0:1], words[1:2], words[2:3], words[3:4]
    c0[0], c1[0], c2[0], c3[0] = np.uint32(block), np.uint32(0), np.uint32(0), np.uint32(1)
    _philox_(c0, c1, c2, c3, key0, key1)
    return np.int64(c0[0]) % size


@njit(cache=True, nogil=True)
def _widen(single: Array, half: Array, kind: Any, start: Any, stop: Any, row: Array, bits: Array) -> Array:
    """One row as float32: a view of `single`, or `row` filled from 16-bit patterns (bits is row's uint32 view)."""
    if kind == F32:
        return single[start:stop]
    n = stop - start
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
def _narrow_(half: Array, kind: Any, start: Any, stop: Any, row: Array, bits: Array, small: Array, small_bits: Array) -> None:
    """Round one row to 16 bits, half to even; small is scratch, float32[128] with its uint32 view."""
    n = stop - start
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
        u = bits[t] & np.uint32(0x7FFFFFFF)
        odd = (u >> np.uint32(13)) & np.uint32(1)
        normal = (u - np.uint32(0x38000000) + np.uint32(0xFFF) + odd) >> np.uint32(13)
        value = normal if u >= np.uint32(0x38800000) else small_bits[t] - np.uint32(0x3F000000)
        if u >= np.uint32(0x47800000):
            value = np.uint32(0x7E00) if u > np.uint32(0x7F800000) else np.uint32(0x7C00)
        target[t] = np.uint16(value | ((bits[t] >> np.uint32(16)) & np.uint32(0x8000)))


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
    length, size = max(base.size, base_half.size), copies.shape[1]
    words, scratch = np.empty(ROW, dtype=np.uint32), np.empty(4, dtype=np.uint32)
    wide, result, small = np.empty(ROW, dtype=np.float32), np.empty(ROW, dtype=np.float32), np.empty(ROW, dtype=np.float32)
    wide_bits, result_bits, small_bits = wide.view(np.uint32), result.view(np.uint32), small.view(np.uint32)
    current, mask = np.int64(-1), np.int64(0)
    for tile in range(begin, end):
        plane_(words, tile, 0, 0, 0, key0, key1)
        for j in range(32):
            position = np.int64(tile) * 4096 + ROW * j
            start = position - np.int64(first) * 4096
            stop = min(start + ROW, length)
            if stop <= start:
                break
            block = position // size
            if block != current:
                current, mask = block, _mask(scratch, block, size, key0, key1)
            column = (position % size) ^ (mask & ~np.int64(ROW - 1))
            deltas = copies[mask & (ROW - 1), column : column + ROW]
            values = _widen(base, base_half, base_kind, start, stop, wide, wide_bits)
            target = out[start:stop] if out_kind == F32 else result[: stop - start]
            for t in range(stop - start):
                sign = np.float32(1.0) - np.float32(2.0) * np.float32(np.int32((words[t] >> np.uint32(j)) & np.uint32(1)))
                target[t] = values[t] - (sign * deltas[t] + np.float32(0.0))
            if out_kind != F32:
                _narrow_(out_half, out_kind, start, stop, result, result_bits, small, small_bits)


@njit(cache=True, nogil=True)
def _direction_(z: Array, words: Array, tile: Any, k: Any, gaussian: Any, key0: Any, key1: Any) -> None:
    """Fill z (int8[4096]) with one tile of an unstructured direction, in units; words is scratch, uint32[6, 128]."""
    if not gaussian:
        plane_(words[5], tile, k, 2, 0, key0, key1)
        for j in range(32):
            for t in range(ROW):
                z[ROW * j + t] = np.int8(1) - np.int8(2) * np.int8((words[5, t] >> np.uint32(j)) & np.uint32(1))
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
        for t in range(ROW):
            total = np.int8(-8)
            for level in range(5):
                total += np.int8(((words[level, t] >> np.uint32(j)) & np.uint32(1)) << np.uint32(level))
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
        for t in range(4096):
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
    sums, z, words = np.empty(4096, dtype=np.int64), np.zeros(4096, dtype=np.int8), np.empty((6, ROW), dtype=np.uint32)
    wide, result, small = np.empty(ROW, dtype=np.float32), np.empty(ROW, dtype=np.float32), np.empty(ROW, dtype=np.float32)
    wide_bits, result_bits, small_bits = wide.view(np.uint32), result.view(np.uint32), small.view(np.uint32)
    for tile in range(begin, end):
        displacement_(sums, z, words, tile, indices, coefficients, gaussian, key0, key1)
        if shift != 0.0:
            _direction_(z, words, tile, along, gaussian, key0, key1)
        else:
            z[:] = 0
        for j in range(32):
            start = (np.int64(tile) - np.int64(first)) * 4096 + ROW * j
            stop = min(start + ROW, length)
            if stop <= start:
                break
            values = _widen(base, base_half, base_kind, start, stop, wide, wide_bits)
            target = out[start:stop] if out_kind == F32 else result[: stop - start]
            for t in range(stop - start):
                delta = np.float64(sums[ROW * j + t]) * scale - shift * np.float64(z[ROW * j + t])
                target[t] = values[t] - (np.float32(delta) + np.float32(0.0))
            if out_kind != F32:
                _narrow_(out_half, out_kind, start, stop, result, result_bits, small, small_bits)


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
    z, words = np.zeros(4096, dtype=np.int8), np.empty((6, ROW), dtype=np.uint32)
    result, small = np.empty(ROW, dtype=np.float32), np.empty(ROW, dtype=np.float32)
    result_bits, small_bits = result.view(np.uint32), small.view(np.uint32)
    moved, shifted = np.float32(move), np.float32(shift)
    for tile in range(begin, end):
        origin = (np.int64(tile) - np.int64(first)) * 4096
        stop = min(origin + 4096, master.size)
        if moved != 0:
            _direction_(z, words, tile, last, gaussian, key0, key1)
            for i in range(origin, stop):
                master[i] -= moved * np.float32(z[i - origin])
        _direction_(z, words, tile, along, gaussian, key0, key1)
        for start in range(origin, stop, ROW):
            end_of_row = min(start + ROW, stop)
            target = out[start:end_of_row] if out_kind == F32 else result[: end_of_row - start]
            for t in range(end_of_row - start):
                target[t] = master[start + t] + shifted * np.float32(z[start - origin + t])
            if out_kind != F32:
                _narrow_(out_half, out_kind, start, end_of_row, result, result_bits, small, small_bits)
