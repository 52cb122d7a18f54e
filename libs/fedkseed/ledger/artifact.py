"""The file `ledger.safetensors`: one version of a ledger, which with its base model is a fine-tuned model.

One tensor, `coefficients` (int32 where they fit, else int64), and as metadata the genesis text, the version and the state
digest over all of them. The same ledger is always the same file, byte for byte. Files are written whole or not at all.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedkseed import files
from fedkseed.errors import ArtifactAltered, ArtifactUnreadable, FileError, GenesisMismatch
from fedkseed.federation import MAX_POOL_SIZE
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.head import frozen
from fedkseed.ledger.statistics import Integers

FORMAT = "fedkseed-ledger-1"
TENSOR = "coefficients"
MAX_HEADER = 8 << 20  # bytes: a genesis, escaped as JSON
MAX_FILE = 8 + MAX_HEADER + 8 * MAX_POOL_SIZE
_DTYPES = {"int32": "I32", "int64": "I64"}
_NUMBERS = {name: number for number, name in _DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artifact:
    """A ledger at one version."""

    genesis_bytes: bytes
    version: int
    coefficients: Integers  # int64[K], ticks

    @property
    def genesis(self) -> Genesis:
        """The genesis, decoded."""
        return Genesis.decode(self.genesis_bytes)

    @property
    def state(self) -> bytes:
        """The state digest, 32 bytes."""
        return state_digest(genesis_digest(self.genesis_bytes), self.version, self.coefficients)


def write(path: Path, artifact: Artifact) -> None:
    """Write an artifact beside its final name, then rename it.

    Raises:
        FileError: the file cannot be written; what was there before stays.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(_serialise(artifact))
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise FileError(f"{path}: {error.strerror}") from error


def _serialise(artifact: Artifact) -> bytes:
    """Lay out the file; the library would order the metadata at random."""
    values = artifact.coefficients
    narrow = values.astype("<i4")
    tensor = narrow if np.array_equal(narrow, values) else values.astype("<i8")
    metadata = {
        "format": FORMAT,
        "genesis": artifact.genesis_bytes.decode(),
        "state": artifact.state.hex(),
        "version": str(artifact.version),
    }
    entry = {"dtype": _DTYPES[tensor.dtype.name], "shape": list(tensor.shape), "data_offsets": [0, tensor.nbytes]}
    header = json.dumps({"__metadata__": metadata, TENSOR: entry}, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + tensor.tobytes()


def read(path: Path) -> Artifact:
    """Read an artifact and check its digest.

    Raises:
        FileError: the file cannot be read, or is larger than any artifact.
        ArtifactUnreadable: it is truncated, or not an artifact of this format.
        ArtifactAltered: its state digest is not that of its contents.
    """
    return parse(files.read(path, MAX_FILE), path)


def parse(data: bytes, path: Path) -> Artifact:
    """Read the contents of an artifact; `path` is named in errors, which are those of `read`."""
    try:
        header, body = _header(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactUnreadable(f"{path}: truncated, or not a ledger artifact: {error}") from error
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ArtifactUnreadable(f"{path}: a safetensors file, but not a ledger artifact of format {FORMAT}")
    return _checked(path, metadata, _vector(path, header, body))


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What a file says of itself, and the rest of it.

    Raises:
        ValueError, TypeError, RecursionError: it says nothing.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER):
        raise ValueError(f"a header of {length} bytes in a file of {len(data)}")
    header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise TypeError("its header is not a map")
    return header, data[8 + length :]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without two entries of one name, which readers would take for different things."""
    if len(entries := dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return entries


def _vector(path: Path, header: Mapping[str, Any], body: bytes) -> Integers:
    """The only tensor of a file, which is all of its body."""
    entry = header.get(TENSOR)
    if len(header) != 1 or not isinstance(entry, dict) or str(entry.get("dtype")) not in _NUMBERS:
        raise ArtifactUnreadable(f"{path}: not one vector {TENSOR!r} of integers")
    dtype = np.dtype(_NUMBERS[entry["dtype"]]).newbyteorder("<")
    if not isinstance(shape := entry.get("shape"), list) or len(shape) != 1:
        raise ArtifactUnreadable(f"{path}: not one vector {TENSOR!r} of integers")
    if entry.get("data_offsets") != [0, len(body)] or shape != [len(body) // dtype.itemsize] or len(body) % dtype.itemsize:
        raise ArtifactUnreadable(f"{path}: truncated, or its tensor is not all that follows its header")
    return frozen(np.frombuffer(body, dtype).astype(np.int64))


def _checked(path: Path, metadata: Mapping[str, Any], coefficients: Integers) -> Artifact:
    """Compare the digest of the file with that of its contents, then what they say."""
    text, version = str(metadata.get("genesis", "")), str(metadata.get("version", ""))
    if not re.fullmatch("[0-9]{1,19}", version):
        raise ArtifactUnreadable(f"{path}: version {version!r:.40} is not a number")
    try:
        genesis_bytes = text.encode()
    except UnicodeEncodeError as error:
        raise ArtifactUnreadable(f"{path}: its genesis is not text") from error
    artifact = Artifact(genesis_bytes=genesis_bytes, version=int(version), coefficients=coefficients)
    if artifact.state.hex() != metadata.get("state"):
        raise ArtifactAltered(f"{path}: state digest does not match the contents")
    try:
        size = artifact.genesis.pool.size
    except GenesisMismatch as error:
        raise ArtifactUnreadable(f"{path}: {error}") from error
    if len(coefficients) != size:
        raise ArtifactUnreadable(f"{path}: {len(coefficients)} coefficients for a pool of {size}")
    return artifact
