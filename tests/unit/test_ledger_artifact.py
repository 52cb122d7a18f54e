"""The artifact: what comes back from the file, and how a damaged or foreign one is told apart."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedkseed.errors import ArtifactAltered, ArtifactUnreadable, FileError
from fedkseed.federation import Pool
from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from tests.ledgers import K, at_version, genesis, ledger

HEAD, _ = at_version(ledger(), 3)


def an_artifact(coefficients=HEAD.coefficients, genesis_bytes=None) -> Artifact:
    return Artifact(genesis_bytes=genesis_bytes or genesis(), version=3, coefficients=coefficients)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.safetensors"


def test_an_artifact_comes_back_as_it_was(path):
    artifact.write(path, an_artifact())
    read = artifact.read(path)
    assert (read.genesis_bytes, read.version) == (genesis(), 3)
    assert read.coefficients.tolist() == HEAD.coefficients.tolist()
    assert read.coefficients.dtype == np.int64
    assert not read.coefficients.flags.writeable
    assert read.state == HEAD.digest
    assert read.genesis.pool.size == K


def test_coefficients_are_stored_in_32_bits_where_they_fit(path):
    artifact.write(path, an_artifact())
    assert load_file(path)["coefficients"].dtype == np.int32
    wide = np.zeros(K, np.int64)
    wide[[0, 1]] = 2**31, -(2**31) - 1
    artifact.write(path, an_artifact(wide))
    assert load_file(path)["coefficients"].dtype == np.int64
    assert artifact.read(path).coefficients.tolist() == wide.tolist()


def test_a_ledger_of_4096_seeds_takes_about_16_kilobytes(path):
    text = genesis(pool=Pool(size=4096))
    artifact.write(path, an_artifact(np.arange(4096), text))
    assert path.stat().st_size < 16384 + len(text) + 600


def test_the_same_ledger_is_the_same_file(path):
    artifact.write(path, an_artifact())
    first = path.read_bytes()
    artifact.write(path, an_artifact())
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]


def test_metadata_is_readable_by_anyone(path):
    artifact.write(path, an_artifact())
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {
        "format": "fedkseed-ledger-1",
        "genesis": genesis().decode(),
        "state": HEAD.digest.hex(),
        "version": "3",
    }


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_unreadable(path, kept):
    artifact.write(path, an_artifact())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactUnreadable, match=r"ledger\.safetensors: truncated"):
        artifact.read(path)


def test_a_flipped_bit_of_the_coefficients_is_an_alteration(path):
    artifact.write(path, an_artifact())
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactAltered, match=r"ledger\.safetensors: state digest"):
        artifact.read(path)


@pytest.mark.parametrize("change", [{"version": "4"}, {"genesis": "{}"}, {"state": "00"}, {"state": None}])
def test_changed_metadata_are_an_alteration(path, change):
    save_as(path, {"coefficients": HEAD.coefficients}, **change)
    with pytest.raises(ArtifactAltered, match=r"ledger\.safetensors"):
        artifact.read(path)


@pytest.mark.parametrize(
    ("tensors", "change", "fault"),
    [
        ({"coefficients": HEAD.coefficients}, {"format": None}, "not a ledger artifact"),
        ({"coefficients": HEAD.coefficients}, {"format": "pt"}, "not a ledger artifact"),
        ({"coefficients": HEAD.coefficients}, {"version": "three"}, "version 'three'"),
        ({"coefficients": HEAD.coefficients}, {"version": "9" * 5000}, "is not a number"),
        ({"coefficients": HEAD.coefficients.astype(np.float32)}, {}, "integers"),
        ({"coefficients": HEAD.coefficients.reshape(2, -1)}, {}, "one vector"),
        ({"weights": HEAD.coefficients}, {}, "one vector"),
        ({"coefficients": HEAD.coefficients, "more": HEAD.coefficients}, {}, "one vector"),
    ],
)
def test_what_is_no_artifact_is_unreadable(path, tensors, change, fault):
    save_as(path, tensors, **change)
    with pytest.raises(ArtifactUnreadable, match=fault):
        artifact.read(path)


def test_a_consistent_file_with_another_number_of_seeds_is_unreadable(path):
    artifact.write(path, an_artifact(np.zeros(K + 1, np.int64)))
    with pytest.raises(ArtifactUnreadable, match="129 coefficients for a pool of 128"):
        artifact.read(path)


def test_a_consistent_file_with_an_unknown_genesis_is_unreadable(path):
    artifact.write(path, an_artifact(genesis_bytes=b'{"schema":2}'))
    with pytest.raises(ArtifactUnreadable, match="not a genesis of schema 1"):
        artifact.read(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileError, match=r"ledger\.safetensors: No such file"):
        artifact.read(path)


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(path):
    path.mkdir()
    with pytest.raises(FileError, match=r"ledger\.safetensors: "):
        artifact.write(path, an_artifact())
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(FileError, match="nowhere"):
        artifact.write(path.parent / "nowhere" / "ledger.safetensors", an_artifact())


def save_as(path, tensors, **change):
    plain = {"format": "fedkseed-ledger-1", "genesis": genesis().decode(), "state": HEAD.digest.hex(), "version": "3"}
    metadata = {key: value for key, value in (plain | change).items() if value is not None}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path, metadata=metadata)
