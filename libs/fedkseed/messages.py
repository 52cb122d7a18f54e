"""What participants say to each other: frozen values, checked for structure by `codec`, judged by `ledger`.

Binary fields stay as they travel (little-endian bytes) and are viewed as arrays where they are used: equality is
equality of bytes, and a fold never builds Python numbers pair by pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

STATE_BYTES = 16  # how much of a state digest travels
NONCE_BYTES = 8

Outcome = Literal["folded", "discounted", "stale", "ahead", "mismatch", "uninvited", "quarantined", "invalid", "voided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The announcement of a round: version v is the head, train on it."""

    federation: str
    version: int
    attempt: int
    state: bytes  # first 16 bytes of the state digest of `version`
    opened: float  # unix seconds
    deadline: float  # unix seconds
    last: bool  # training is over; `version` is the final one
    steps: int  # tau
    eps: float
    lr: float  # eta
    batch: int
    participation: float
    nonce: bytes
    delta: bytes | None  # packed difference to version - 1; nil at version 0
    importance: bytes | None  # K nibbles, low one first; nil samples uniformly
    max_staleness: int | None = None  # lets a client abandon what nobody would accept; nil when not stated
    directions_per_batch: int = field(default=1, metadata={"wire": "unless default"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one client measured on one base version: tau scalar gradients along drawn directions."""

    federation: str
    client: str
    base: int
    state: bytes
    n: int  # examples that the client holds: its weight
    k: bytes  # u16 each: seed indices
    g: bytes  # f16 each: projected gradients
    loss: float = field(metadata={"wire": "f32"})  # mean over the evaluations
    seconds: float
    skipped: int  # steps without a usable scalar

    @property
    def seed_indices(self) -> NDArray[np.uint16]:
        """The seed index of every pair, shape (pairs,)."""
        return np.frombuffer(self.k, dtype="<u2")

    @property
    def gradients(self) -> NDArray[np.float16]:
        """The scalar gradient of every pair, shape (pairs,)."""
        return np.frombuffer(self.g, dtype="<f2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of an update: the identity of the update is (client, base)."""

    federation: str
    client: str
    base: int
    outcome: Outcome
    staleness: int
    weight: int  # omega; 0 for a refusal
    version: int  # the head that the update was decided against
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRequest:
    """A participant that cannot follow by deltas asks for the whole ledger."""

    federation: str
    client: str
    have: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole ledger at one version: enough to rebuild the model from its base."""

    federation: str
    genesis: bytes
    version: int
    state: bytes
    coefficients: bytes  # packed
    importance: bytes | None
    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of one version on held-out data."""

    federation: str
    client: str  # the evaluator
    version: int
    state: bytes
    metrics: Mapping[str, float]
    examples: int
    seconds: float


Message = Round | Update | Receipt | SnapshotRequest | Snapshot | Evaluation
