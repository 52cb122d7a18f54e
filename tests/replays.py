"""A slow replay of an archive, in Python integers and fractions, that shares nothing with the one of the ledger."""

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np

from fedkseed.codec import decode
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head
from tests.ledgers import TICK, K

Skipped = Callable[[str, int], bool]  # whether a client's update in the round that made a version is left out


def is_replay(head: Head, commits: Sequence[Commit], bodies: Iterable[bytes], skipped: Skipped) -> bool:
    """Whether a head holds, byte for byte, what its archive gives without the updates that are skipped."""
    coefficients, residue = slowly(commits, bodies, skipped)
    expected = [np.array(values, "<i8").tobytes() for values in (coefficients, residue)]
    return expected == [head.coefficients.astype("<i8").tobytes(), head.residue.astype("<i8").tobytes()]


def slowly(commits: Sequence[Commit], bodies: Iterable[bytes], skipped: Skipped) -> tuple[list[int], list[int]]:
    """Coefficients and residue after a log, seed by seed."""
    archive = {}
    for sent in map(decode, bodies):
        archive.setdefault((sent.client, sent.base), sent)
    coefficients, residue, history = [0] * K, [0] * K, {0: [0] * K}
    for commit in commits:
        members = [member for member in commit.members if not skipped(member.client, commit.version)]
        if commit.kind == "rollback":
            coefficients, residue = list(history[commit.to]), [0] * K
        elif commit.kind == "round" and members:
            numerators, weight = [0] * K, 0
            for member in members:
                weight += member.omega
                for k, value in _sums(archive[member.client, member.base], commit.bounds).items():
                    numerators[k] += member.omega * value
            for k in range(K):
                x = (commit.lr / TICK) * (float(numerators[k]) / (65536.0 * float(weight))) + float(residue[k]) / 65536.0
                delta = round(Fraction(x))  # half to even
                coefficients[k] += delta
                residue[k] = round((Fraction(x) - delta) * 65536)
        history[commit.version] = list(coefficients)
    return coefficients, residue


def _sums(sent, bounds) -> dict[int, int]:
    sums: dict[int, int] = {}
    for k, g in zip(sent.seed_indices.tolist(), sent.gradients.tolist(), strict=True):
        value = round(Fraction(g) * 65536)
        if bounds:
            value = max(-bounds.scalar, min(bounds.scalar, value))
        sums[k] = sums.get(k, 0) + value
    norm = math.isqrt(sum(value * value for value in sums.values()))
    if bounds and norm > bounds.norm:
        factor = bounds.norm / norm
        sums = {k: round(Fraction(float(value) * factor)) for k, value in sums.items()}
    return sums
