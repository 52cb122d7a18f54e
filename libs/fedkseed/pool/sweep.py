"""Passes over a whole model: the kernels applied to many flat tensors on many threads.

A `Sweep` is built once for a set of tensors and run for every rebuild, perturbation and step. It owns its threads (the
kernels release the GIL), so a limit on threads holds and the libraries' own pools are left alone.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedkseed.federation import Pool
from fedkseed.pool import kernels
from fedkseed.pool.seed_pool import TILE, UNITS, check_exact, key

Flat = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint16]  # uint16: bfloat16 bit patterns
_NO_SINGLE, _NO_HALF = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.uint16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One flat tensor of the layout: where it starts in tiles, what it is read from and written to."""

    first_tile: int
    base: Flat  # shape (n,)
    out: Flat  # shape (n,); may be `base` itself


def transform(a: NDArray[Any]) -> NDArray[Any]:
    """The fast Walsh-Hadamard transform in Sylvester order: y[c] = sum_k a_k (-1)^popcount(k AND c); shape and dtype kept."""
    y = a.copy()
    width = 1
    while width < y.size:
        pairs = y.reshape(-1, 2, width)
        y = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(-1)
        width *= 2
    return y


def hadamard_table(pool: Pool, coefficients: NDArray[Any], tick: float, along: int, shift: float) -> NDArray[np.float32]:
    """The K displacements of the structured family: float32(y * (tick * unit) - shift * unit * (-1)^popcount(along AND c))."""
    unit = UNITS[pool.family]
    table = transform(coefficients).astype(np.float64) * (tick * unit)
    if shift:
        parity = np.bitwise_count(np.arange(pool.size) & along) & 1
        table -= (shift * unit) * (1.0 - 2.0 * parity)
    return table.astype(np.float32)


class Sweep:
    """Rebuilds, perturbs and steps a set of flat tensors in place.

    Args:
        pool: the seed pool.
        spans: the tensors, in layout order.
        threads: how many threads share a pass.
    """

    def __init__(self, pool: Pool, spans: Sequence[Span], threads: int) -> None:
        self._pool = pool
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sweep") if threads > 1 else None
        self._shares = _shares(spans, threads)

    def materialise_(self, coefficients: NDArray[Any], tick: float, *, along: int = 0, shift: float = 0.0) -> None:
        """Write out = base - sum_k a_k z_k * tick + shift * z_along.

        Args:
            coefficients: a in ticks, shape (K,): int64 (exact), or float64 for the structured family's local steps.
            tick: the size of a tick.
            along: the seed index to perturb along.
            shift: +eps or -eps; 0 leaves the weights unperturbed.

        Raises:
            LedgerError: integer coefficients too large to be exact.
        """
        if coefficients.dtype == np.int64:
            check_exact(self._pool, coefficients)
        low, high = key(self._pool)
        if self._pool.family == "hadamard":
            copies = kernels.permuted(hadamard_table(self._pool, coefficients, tick, along, shift))
            self._run(kernels.hadamard_, copies, low, high)
            return
        unit = UNITS[self._pool.family]
        indices = np.flatnonzero(coefficients)
        gaussian = self._pool.family == "gaussian"
        self._run(kernels.rebuild_, indices, coefficients[indices], tick * unit, along, shift * unit, gaussian, low, high)

    def step_(self, last: int, move: float, along: int, shift: float) -> None:
        """For unstructured families: base -= move * z_last (float32, in place), then out = base + shift * z_along."""
        low, high = key(self._pool)
        unit = UNITS[self._pool.family]
        self._run(kernels.step_, last, move * unit, along, shift * unit, self._pool.family == "gaussian", low, high)

    def _run(self, kernel: Callable[..., None], *rest: Any) -> None:
        """Apply a kernel to all tiles of all spans, each thread to its share of them."""

        def share(pieces: list[tuple[Span, int, int]]) -> None:
            for span, begin, end in pieces:
                kernel(*_pair(span.base), *_pair(span.out), span.first_tile, begin, end, *rest)

        if self._threads is None:
            share(self._shares[0])
        else:
            list(self._threads.map(share, self._shares))


def _pair(flat: Flat) -> tuple[NDArray[np.float32], NDArray[np.uint16], int]:
    """A flat tensor as the kernels take it."""
    if flat.dtype == np.float32:
        return flat, _NO_HALF, kernels.F32  # type: ignore[return-value]
    if flat.dtype == np.float16:
        return _NO_SINGLE, flat.view(np.uint16), kernels.F16
    return _NO_SINGLE, flat, kernels.BF16  # type: ignore[return-value]


def _shares(spans: Sequence[Span], threads: int) -> list[list[tuple[Span, int, int]]]:
    """Cut the model into `threads` runs of whole tiles, as equal as tiles allow."""
    tiles = [-(-span.base.size // TILE) for span in spans]
    bounds = [sum(tiles) * i // threads for i in range(threads + 1)]
    shares: list[list[tuple[Span, int, int]]] = [[] for _ in range(threads)]
    offset = 0
    for span, count in zip(spans, tiles, strict=True):
        for share, begin, end in zip(shares, bounds, bounds[1:], strict=False):
            first, stop = max(begin - offset, 0), min(end - offset, count)
            if first < stop:
                share.append((span, span.first_tile + first, span.first_tile + stop))
        offset += count
    return shares
