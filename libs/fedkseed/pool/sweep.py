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


Work = Callable[[Span, int, int], None]  # carries out tiles [begin, end) of a span
Shares = list[list[tuple[Span, int, int]]]  # for each thread: spans, with the tiles of them that are its own


def rebuilding(pool: Pool, coefficients: NDArray[Any], tick: float, *, along: int = 0, shift: float = 0.0) -> Work:
    """The work that writes out = base - sum_k a_k z_k * tick + shift * z_along, ready for any spans.

    Args:
        pool: the seed pool.
        coefficients: a in ticks, shape (K,): int64 (exact), or float64 for the structured family's local steps.
        tick: the size of a tick.
        along: the seed index to perturb along.
        shift: +eps or -eps; 0 leaves the weights unperturbed.

    Raises:
        LedgerError: integer coefficients too large to be exact.
    """
    if coefficients.dtype == np.int64:
        check_exact(pool, coefficients)
    if pool.family == "hadamard":
        copies = kernels.permuted(hadamard_table(pool, coefficients, tick, along, shift))
        return _work(kernels.hadamard_, copies, *key(pool))
    unit = UNITS[pool.family]
    indices = np.flatnonzero(coefficients)
    rest = (indices, coefficients[indices], tick * unit, along, shift * unit, pool.family == "gaussian")
    return _work(kernels.rebuild_, *rest, *key(pool))


def stepping(pool: Pool, last: int, move: float, along: int, shift: float) -> Work:
    """The work of `Sweep.step_`, ready for any spans."""
    unit = UNITS[pool.family]
    return _work(kernels.step_, last, move * unit, along, shift * unit, pool.family == "gaussian", *key(pool))


def load(pool: Pool) -> None:
    """Have a family's kernels ready: read from where numba keeps them, or compiled, which takes it seconds, and kept there."""
    nothing = Span(first_tile=0, base=_NO_SINGLE, out=_NO_SINGLE)
    rebuilding(pool, np.zeros(pool.size, np.int64), 0.0)(nothing, 0, 0)
    if pool.family != "hadamard":
        stepping(pool, 0, 0.0, 0, 0.0)(nothing, 0, 0)


def _work(kernel: Callable[..., None], *rest: Any) -> Work:
    return lambda span, begin, end: kernel(*_pair(span.base), *_pair(span.out), span.first_tile, begin, end, *rest)


class Crew:
    """Threads that share work, the calling one among them.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self._count = threads
        self._others = ThreadPoolExecutor(threads - 1, thread_name_prefix="sweep") if threads > 1 else None

    def share(self, spans: Sequence[Span]) -> Shares:
        """Cut spans into a run of whole tiles for each thread."""
        return _shares(spans, self._count)

    def run(self, work: Work, shares: Shares) -> None:
        """Do work, each thread its share of it."""

        def do(share: list[tuple[Span, int, int]]) -> None:
            for piece in share:
                work(*piece)

        own, *others = shares
        begun = [self._others.submit(do, share) for share in others] if self._others else []
        do(own)
        for future in begun:
            future.result()


class Sweep:
    """Rebuilds, perturbs and steps a set of flat tensors in place.

    Args:
        pool: the seed pool.
        spans: the tensors, in layout order.
        threads: how many threads share a pass.
    """

    def __init__(self, pool: Pool, spans: Sequence[Span], threads: int) -> None:
        self._pool = pool
        self._crew = Crew(threads)
        self._shares = self._crew.share(spans)

    def materialise_(self, coefficients: NDArray[Any], tick: float, *, along: int = 0, shift: float = 0.0) -> None:
        """Rebuild all of the tensors: see `rebuilding`.

        Raises:
            LedgerError: integer coefficients too large to be exact.
        """
        self._crew.run(rebuilding(self._pool, coefficients, tick, along=along, shift=shift), self._shares)

    def step_(self, last: int, move: float, along: int, shift: float) -> None:
        """For unstructured families: base -= move * z_last (float32, in place), then out = base + shift * z_along."""
        self._crew.run(stepping(self._pool, last, move, along, shift), self._shares)


def _pair(flat: Flat) -> tuple[NDArray[np.float32], NDArray[np.uint16], int]:
    """A flat tensor as the kernels take it."""
    if flat.dtype == np.float32:
        return flat, _NO_HALF, kernels.F32  # type: ignore[return-value]
    if flat.dtype == np.float16:
        return _NO_SINGLE, flat.view(np.uint16), kernels.F16
    return _NO_SINGLE, flat, kernels.BF16  # type: ignore[return-value]


def _shares(spans: Sequence[Span], threads: int) -> Shares:
    """Cut the model into `threads` runs of whole tiles, as equal as tiles allow."""
    tiles = [-(-span.base.size // TILE) for span in spans]
    bounds = [sum(tiles) * i // threads for i in range(threads + 1)]
    shares: Shares = [[] for _ in range(threads)]
    offset = 0
    for span, count in zip(spans, tiles, strict=True):
        for share, begin, end in zip(shares, bounds, bounds[1:], strict=False):
            first, stop = max(begin - offset, 0), min(end - offset, count)
            if first < stop:
                share.append((span, span.first_tile + first, span.first_tile + stop))
        offset += count
    return shares
