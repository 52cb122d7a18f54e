"""The head of a ledger: one immutable value that holds all that the next decision depends on.

Nothing here decides. Arrays are read-only; a change makes a new head whose `revision` is higher, and everything that a
store must keep between two decisions is a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedkseed.federation import Policy
from fedkseed.genesis import Genesis
from fedkseed.ledger.statistics import BUCKETS, Evidence, Integers, Statistics
from fedkseed.messages import Receipt, Round

State = Literal["open", "paused", "closed"]
Pairs = tuple[bytes, bytes]  # of an update: seed indices (u16) and scalars (f16), as they came


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Member:
    """An update that a round folded."""

    client: str
    base: int
    omega: int  # its weight
    staleness: int
    evidence: Evidence | None = None  # for robust folding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pending:
    """The sums of the open round; none of them depends on the order of arrival."""

    numerators: Integers  # int64[K]: sum of omega * round(g * 2^16)
    weight: int  # sum of omega
    importance_sums: Integers  # int64[K]: sum of |clip(g, +-1000)| * 2^16, unweighted
    importance_counts: Integers  # int64[K]: pairs
    members: tuple[Member, ...]  # sorted
    scalars: Integers  # int64[BUCKETS]: |g| of all pairs as they came; zeros unless folding is robust
    pairs: Mapping[tuple[str, int], Pairs]  # of each member, by client and base; the same


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseVersion:
    """What is remembered of a version, to judge the updates that were measured on it."""

    state: bytes  # 32 bytes
    steps: int  # tau
    participation: float
    attempts: int  # how often its round was announced: an invitation to any attempt counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A ledger at its newest version, with its open round."""

    genesis_bytes: bytes
    genesis: Genesis
    policy: Policy
    discounts: tuple[int, ...]  # the staleness table of the policy, over 65536
    version: int
    floor: int  # bases below it were abandoned by a rollback, or hold what was forgotten
    forgot: int  # the newest version that made a client forgotten; 0 for none
    revision: int  # counts changes
    state: State
    coefficients: Integers  # int64[K], ticks
    residue: Integers  # int64[K], 1/65536 tick: what rounding left for the next commit
    importance_sums: Integers  # int64[K], |g| * 2^16, of all commits
    importance_counts: Integers  # int64[K]
    pending: Pending
    robust: Statistics | None  # as it stood when the round opened; None: it folds as the paper does
    window: Mapping[int, BaseVersion]  # the versions whose updates can still be judged, this one included
    inbox: Mapping[int, Mapping[str, Receipt]]  # base -> client -> its final receipt; the same versions as the window
    states: Mapping[int, bytes]  # state digests (32 bytes) of the versions that can still be scored
    round: Round  # the open announcement
    announced: tuple[int, int] | None  # newest (version, attempt) known to have been published
    evaluations: Mapping[int, Mapping[str, float]]  # scores by version

    @property
    def size(self) -> int:
        """K, the number of directions."""
        return self.genesis.pool.size

    @property
    def digest(self) -> bytes:
        """The state digest of this version, 32 bytes."""
        return self.states[self.version]


def frozen(values: Integers) -> Integers:
    """The same array, read-only from now on."""
    values.setflags(write=False)
    return values


def nothing_pending(size: int) -> Pending:
    """The sums of a round that has just opened, for K directions."""
    zeros = frozen(np.zeros(size, np.int64))
    scalars = frozen(np.zeros(BUCKETS, np.int64))
    return Pending(
        numerators=zeros, weight=0, importance_sums=zeros, importance_counts=zeros, members=(), scalars=scalars, pairs={}
    )
