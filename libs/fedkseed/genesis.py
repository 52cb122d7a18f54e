"""The genesis: what a federation can never change, stored once as bytes and known by their digest.

The bytes are JSON in UTF-8 with sorted keys and no white space; they are never serialised again, so that the digest
of what is stored is the digest that everyone holds.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import pydantic
from pydantic import Field, TypeAdapter

from fedkseed.errors import GenesisMismatch
from fedkseed.federation import Name, Objective, Pool, PositiveFloat

SCHEMA: Literal[1] = 1
MAX_BYTES = 1 << 20  # it must fit into a message
Dtype = Literal["F32", "F16", "BF16"]  # as safetensors names them


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One trainable tensor of the parameter layout."""

    name: str
    shape: tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...]
    dtype: Dtype  # as stored in the base


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """The identity of a federation: base, directions, objective and the size of a tick."""

    schema: Literal[1] = SCHEMA
    federation: Name
    layout: tuple[TensorSpec, ...]  # sorted by name
    base_digest: str  # hex SHA-256 over the layout's tensors
    support_digest: str | None
    pool: Pool
    objective: Objective
    lr: PositiveFloat  # eta_0
    tick: PositiveFloat  # one unit of a coefficient, learning rate included; eta_0 / 16 by default

    def encode(self) -> bytes:
        """Serialise: done once, by the founder."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Genesis":
        """Read stored genesis bytes.

        Raises:
            GenesisMismatch: they are not a genesis of this schema.
        """
        if len(data) > MAX_BYTES:
            raise GenesisMismatch(f"a genesis of {len(data)} bytes, more than {MAX_BYTES}")
        try:
            return _ADAPTER.validate_json(data)
        except pydantic.ValidationError as error:
            raise GenesisMismatch(f"not a genesis of schema {SCHEMA}: {error.errors()[0]['msg']}") from error


_ADAPTER = TypeAdapter(Genesis)


def genesis_digest(data: bytes) -> bytes:
    """SHA-256 of the stored genesis bytes, 32 bytes."""
    return hashlib.sha256(data).digest()
