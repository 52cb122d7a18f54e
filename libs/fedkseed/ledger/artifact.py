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

import numpy as np
from safetensors import SafetensorError, safe_open

from fedkseed.errors import ArtifactAltered, ArtifactUnreadable, FileError, GenesisMismatch
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.head import frozen
from fedkseed.ledger.statistics import Integers

FORMAT = "fedkseed-ledger-1"
TENSOR = "coefficients"
_DTYPES = {"int32": "I32", "int64": "I64"}


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
        FileError: the file cannot be read.
        ArtifactUnreadable: it is truncated, or not an artifact of this format.
        ArtifactAltered: its state digest is not that of its contents.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except OSError as error:
        reason = "it is a directory" if path.is_dir() else str(error).removesuffix(f": {path}")
        raise FileError(f"{path}: {reason}") from error
    except SafetensorError as error:
        raise ArtifactUnreadable(f"{path}: truncated, or not a ledger artifact: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ArtifactUnreadable(f"{path}: a safetensors file, but not a ledger artifact of format {FORMAT}")
    coefficients = tensors.get(TENSOR, np.zeros(0))
    if list(tensors) != [TENSOR] or coefficients.dtype.name not in _DTYPES or coefficients.ndim != 1:
        raise ArtifactUnreadable(f"{path}: not one vector {TENSOR!r} of integers")
    return _checked(path, metadata, frozen(coefficients.astype(np.int64)))


def _checked(path: Path, metadata: Mapping[str, str], coefficients: Integers) -> Artifact:
    """Compare the digest of the file with that of its contents, then what they say."""
    text, version = metadata.get("genesis", ""), metadata.get("version", "")
    if not re.fullmatch("[0-9]{1,19}", version):
        raise ArtifactUnreadable(f"{path}: version {version!r:.40} is not a number")
    artifact = Artifact(genesis_bytes=text.encode(), version=int(version), coefficients=coefficients)
    if artifact.state.hex() != metadata.get("state"):
        raise ArtifactAltered(f"{path}: state digest does not match the contents")
    try:
        size = artifact.genesis.pool.size
    except GenesisMismatch as error:
        raise ArtifactUnreadable(f"{path}: {error}") from error
    if len(coefficients) != size:
        raise ArtifactUnreadable(f"{path}: {len(coefficients)} coefficients for a pool of {size}")
    return artifact
