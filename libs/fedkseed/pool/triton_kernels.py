"""GPU kernels of the seed pool, in Triton: one program for each tile, which reads it once and writes it once.

Rules kept here: the only module that imports triton. Every float operation rounds on its own (`launch_` forbids fusion), so
that results are those of `kernels` bit for bit, except that of a NaN nothing is said but that it is one. A zero displacement is
+0.0 and therefore leaves even a weight of -0.0 as it is. bfloat16 comes as its bit patterns in int16 and is rounded here by
integer arithmetic, because Triton's interpreter, in which tests run this, rounds it wrongly.

A tile is seen as 32 rows of 128 positions: a row shares a bit position (`_bits`) and lies in one Hadamard block. Numbers
that must be float64 come in tensors: as an argument they would arrive as float32.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from fedkseed.pool.seed_pool import TILE

OPTIONS = {"enable_fp_fusion": False}
_CHANGING = ["first", "seed", "count", "last", "along"]  # nothing is compiled anew for certain values of these


def launch_(kernel: Any, source: torch.Tensor, target: torch.Tensor, first_tile: int, seed: int, *rest: Any) -> None:
    """Run a kernel over all tiles of one flat tensor, on the device where it is; it may go on after the return."""
    with torch.cuda.device_of(source):
        kernel[triton.cdiv(source.numel(), TILE),](
            _stored(source), _stored(target), source.numel(), first_tile, seed, *rest, **OPTIONS
        )


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor


@triton.jit
def _planes(tile, k, domain: tl.constexpr, planes: tl.constexpr, seed):
    """bits(tile, k, domain, p) for every p, as uint32[planes, 128]: bit j of word t belongs to position 128 j + t."""
    call = tl.arange(0, 32 * planes).to(tl.uint32)  # q + 32 p
    none = tl.zeros([32 * planes], tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, none + tile.to(tl.uint32), call, none + k.to(tl.uint32), none + domain)
    outputs = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), [planes, 32, 2, 2])  # output 2 a + b is at [p, q, a, b]
    return tl.reshape(tl.permute(outputs, (0, 2, 3, 1)), [planes, 128])


@triton.jit
def _bits(tile, k, domain: tl.constexpr, seed):
    """The only plane of a domain, at its positions, int32[32, 128]."""
    words = _planes(tile, k, domain, 1, seed)
    return ((words >> tl.arange(0, 32).to(tl.uint32)[:, None]) & 1).to(tl.int32)


@triton.jit
def _direction(tile, k, gaussian: tl.constexpr, seed):
    """One tile of an unstructured direction, in units, int32[32, 128]."""
    if gaussian:
        words = _planes(tile, k, 3, 16, seed)[:, None, :]
        fourths = (words >> tl.arange(0, 8).to(tl.uint32)[None, :, None]) & 0x01010101  # bits i, 8 + i, 16 + i, 24 + i as bytes
        counts = tl.sum(fourths, 0)[None, :, :] >> (8 * tl.arange(0, 4).to(tl.uint32))[:, None, None]
        z = tl.reshape(counts & 0xFF, [32, 128]).to(tl.int32) - 8
    else:
        z = 1 - 2 * _bits(tile, k, 2, seed)
    return z


@triton.jit
def _inner():
    """Positions in a tile, int32[32, 128]."""
    return 128 * tl.arange(0, 32)[:, None] + tl.arange(0, 128)[None, :]


@triton.jit
def _places(length):
    """Where this program's tile lies in its tensor, int64[32, 128], and what of it is inside."""
    places = tl.program_id(0).to(tl.int64) * 4096 + _inner()
    return places, places < length


@triton.jit
def _read(tensor, places, inside):
    """Load a tile as float32."""
    stored = tl.load(tensor + places, mask=inside)
    if tensor.dtype.element_ty == tl.int16:
        wide = (stored.to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        wide = stored.to(tl.float32)
    return wide


@triton.jit
def _write(tensor, places, inside, wide):
    """Round a tile to nearest, half to even, and store it."""
    if tensor.dtype.element_ty == tl.int16:
        u = wide.to(tl.uint32, bitcast=True)
        rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16
        stored = tl.where((u & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, rounded).to(tl.int16)
    else:
        stored = wide.to(tensor.dtype.element_ty)
    tl.store(tensor + places, stored, mask=inside)


@triton.jit(do_not_specialize=_CHANGING)
def hadamard_(base, out, length, first, seed, table, size: tl.constexpr):
    """Out = base - s * table[c]."""
    places, inside = _places(length)
    tile = first + tl.program_id(0)
    start = tile.to(tl.int64) * 4096
    rows = start if size >= 4096 else start + 128 * tl.arange(0, 32)[:, None]  # a tile of a large block has but one mask
    block = (rows // size).to(tl.uint32)
    mask, _, _, _ = tl.philox(seed, block, block - block, block - block, block - block + 1)
    column = ((start & (size - 1)).to(tl.int32) + _inner()) ^ mask.to(tl.int32)
    delta = tl.load(table + (column & (size - 1)))
    delta = tl.where(_bits(tile, tile - tile, 0, seed) == 1, -delta, delta) + 0.0
    _write(out, places, inside, _read(base, places, inside) - delta)


@triton.jit(do_not_specialize=_CHANGING)
def rebuild_(
    base, out, length, first, seed, indices, coefficients, count, numbers, along, gaussian: tl.constexpr, shifted: tl.constexpr
):
    """Out = base - (S * scale - shift * z_along) with an unstructured family; numbers are scale and shift, float64."""
    places, inside = _places(length)
    tile = first + tl.program_id(0)
    sums = tl.zeros([32, 128], tl.int64)
    for i in range(count):
        sums += tl.load(coefficients + i) * _direction(tile, tl.load(indices + i), gaussian, seed)
    delta = sums.to(tl.float64) * tl.load(numbers)
    if shifted:
        delta -= tl.load(numbers + 1) * _direction(tile, along, gaussian, seed).to(tl.float64)
    _write(out, places, inside, _read(base, places, inside) - (delta.to(tl.float32) + 0.0))


@triton.jit(do_not_specialize=_CHANGING)
def step_(master, out, length, first, seed, last, move, along, shift, gaussian: tl.constexpr, moved: tl.constexpr):
    """Restore, update and perturb in one pass: master -= move * z_last; out = master + shift * z_along; all in float32."""
    places, inside = _places(length)
    tile = first + tl.program_id(0)
    weights = tl.load(master + places, mask=inside)
    if moved:
        weights -= move * _direction(tile, last, gaussian, seed).to(tl.float32)
        tl.store(master + places, weights, mask=inside)
    _write(out, places, inside, weights + shift * _direction(tile, along, gaussian, seed).to(tl.float32))
