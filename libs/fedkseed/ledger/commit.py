"""Closing a round, as arithmetic: pending sums become integer ticks, and what rounding left is carried on.

Qin et al. (2024): w = w0 - eta * sum_k A_k z_k with A_k += c_i * (sum of client i's scalar gradients at seed k). Here A is
kept in ticks with eta folded in. All rounding is half to even; quotients are float64 in the order written.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedkseed.federation import Family
from fedkseed.ledger.head import Member, Pending, frozen
from fedkseed.ledger.statistics import Bounds, Integers
from fedkseed.pool.seed_pool import MAX_UNITS

EXACT = 1 << 53  # sums over directions must stay below: float64 holds every integer up to here
FIXED_POINT = 65536.0

Kind = Literal["round", "measured", "rollback", "forget", "voided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One entry of the log: what made version `version` out of the one before."""

    version: int
    kind: Kind
    delta: bytes  # packed, ticks
    members: tuple[Member, ...]  # sorted
    weight: int  # sum of omega
    lr: float  # eta of the round that closed
    policy_digest: str  # hex
    round: bytes  # the announcement of this version, encoded
    state: bytes  # state digest of this version, 32 bytes
    closed_at: float  # unix seconds
    bounds: Bounds | None = None  # of the round that closed, where its folding was robust
    to: int | None = None  # of a rollback: the version that it went back to
    forgotten: str = ""  # of a forget: the client whose earlier updates do not count any more
    quarantined: tuple[str, ...] = ()  # clients that are excluded from this version on, sorted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """The difference between two versions."""

    delta: Integers  # int64[K], ticks
    residue: Integers  # int64[K], 1/65536 tick


def step(pending: Pending, coefficients: Integers, residue: Integers, *, lr: float, tick: float, family: Family) -> Step | None:
    """Turn pending sums into a difference in ticks.

    x_k = (lr / tick) * (numerator_k / (65536 * weight)) + residue_k / 65536; delta_k = round(x_k);
    residue_k = round((x_k - delta_k) * 65536).

    Args:
        pending: the sums of a round with at least one member.
        coefficients: int64[K] before the step, ticks.
        residue: int64[K] carried from the last commit, 1/65536 tick.
        lr: eta of the closing round.
        tick: of the genesis.
        family: of the pool; bounds |z|.

    Returns:
        The step, or None when it would bring sum |a_k| * max |z| to 2^53 or more: such a round is voided.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scalars = pending.numerators.astype(np.float64) / (FIXED_POINT * float(pending.weight))
        exact = (lr / tick) * scalars + residue.astype(np.float64) / FIXED_POINT
    if not (np.abs(exact) < 2 * EXACT).all():  # with |a| < 2^53 before, certainly too large (or not a number)
        return None
    rounded = np.rint(exact)
    delta = rounded.astype(np.int64)
    if not representable(coefficients + delta, family):
        return None
    return Step(delta=frozen(delta), residue=frozen(np.rint((exact - rounded) * FIXED_POINT).astype(np.int64)))


def representable(coefficients: Integers, family: Family) -> bool:
    """Say whether sum |a_k| * max |z| < 2^53, so that every sum over directions is exact; cannot overflow itself."""
    size = np.abs(coefficients)
    total = (int((size >> 26).sum()) << 26) + int((size & ((1 << 26) - 1)).sum())
    return total * MAX_UNITS[family] < EXACT
