"""Integer vectors as bytes: short where most entries are zero or small, and one encoding for each vector."""

import numpy as np
from numpy.typing import NDArray

from fedkseed.errors import DecodeError
from fedkseed.federation import MAX_POOL_SIZE

MAX_VARINT = 10  # bytes: 64 bits, seven at a time
_SHIFTS = np.arange(0, 7 * MAX_VARINT, 7, dtype=np.uint64)


def pack_integers(values: NDArray[np.int64]) -> bytes:
    """Write an integer vector: a bitmap of the non-zero entries, then those as zig-zag LEB128 varints.

    Args:
        values: int64, shape (K,).

    Returns:
        ceil(K / 8) bytes of bitmap, least significant bit first, and one varint for each bit that is set.
    """
    present = values[values != 0].astype(np.int64)
    codes = (present.view(np.uint64) << np.uint64(1)) ^ (present >> 63).view(np.uint64)
    widest = -(-int(codes.max(initial=1)).bit_length() // 7)
    groups = codes[:, None] >> _SHIFTS[:widest]  # seven bits each, the low ones first
    lengths = np.count_nonzero(groups, axis=1)
    place = np.arange(widest)
    more = np.where(place < lengths[:, None] - 1, 0x80, 0).astype(np.uint8)
    octets = (groups & np.uint64(0x7F)).astype(np.uint8) | more
    bitmap = np.packbits(values != 0, bitorder="little")
    varints: NDArray[np.uint8] = octets[place < lengths[:, None]]
    return bitmap.tobytes() + varints.tobytes()


def unpack_integers(data: bytes, size: int) -> NDArray[np.int64]:
    """Read what `pack_integers` wrote; every vector has exactly one encoding.

    Args:
        data: the bytes.
        size: K.

    Returns:
        int64, shape (K,).

    Raises:
        DecodeError: bits beyond K, a varint that is cut off, non-minimal, zero or wider than 64 bits, trailing bytes.
    """
    if not 0 <= size <= MAX_POOL_SIZE:
        raise DecodeError(f"a pool of {size} seeds")
    head = -(-size // 8)
    octets = np.frombuffer(data, np.uint8)
    bits = np.unpackbits(octets[:head], bitorder="little")
    if len(octets) < head or bits[size:].any():
        raise DecodeError(f"the bitmap is not one of {size} entries")
    where = np.flatnonzero(bits[:size])
    values = np.zeros(size, np.int64)
    values[where] = _varints(octets[head:], len(where))
    return values


def _varints(octets: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Read exactly `count` non-zero zig-zag LEB128 varints."""
    ends = np.flatnonzero(octets < 0x80)
    if len(ends) != count or len(octets) != (ends[-1] + 1 if count else 0):
        raise DecodeError(f"{len(ends)} varints in {len(octets)} bytes instead of {count}")
    if not count:
        return np.zeros(0, np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if not octets[ends].all():
        raise DecodeError("a varint is zero or not minimal")
    if lengths.max() > MAX_VARINT or (octets[ends[lengths == MAX_VARINT]] > 1).any():
        raise DecodeError("a varint is wider than 64 bits")
    place = np.arange(len(octets)) - np.repeat(starts, lengths)
    codes = np.add.reduceat((octets & 0x7F).astype(np.uint64) << _SHIFTS[place], starts)
    return (codes >> np.uint64(1)).view(np.int64) ^ -(codes & np.uint64(1)).view(np.int64)
