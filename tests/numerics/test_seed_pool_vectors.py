"""The golden vectors of the seed pool, through the reference and through the kernels.

`FEDKSEED_VECTORS` names another file of vectors.
"""

import base64
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fedkseed.federation import Pool
from fedkseed.pool import kernels, reference
from fedkseed.pool.seed_pool import TILE, UNITS, alignment, key
from fedkseed.pool.sweep import Span, Sweep

VECTORS = json.loads(Path(os.environ.get("FEDKSEED_VECTORS", Path(__file__).with_name("seed-pool.json"))).read_text())
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


def pool(vector: dict) -> Pool:
    return Pool(family=vector["family"], size=vector["K"], seed=vector["pool_seed"])


def array(text: str, dtype: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def title(vector: dict) -> str:
    return "-".join(str(vector[name]) for name in ("family", "K", "index", "tile", "dtype") if name in vector)


@pytest.mark.parametrize("vector", VECTORS["philox4x32_10"])
def test_philox_gives_the_known_answers(vector):
    counter = tuple(np.array([word], dtype=np.uint32) for word in vector["counter"])
    assert [int(word[0]) for word in reference.philox(counter, tuple(vector["key"]))] == vector["output"]


@pytest.mark.parametrize("vector", VECTORS["directions"], ids=title)
def test_directions_are_the_golden_ones(vector):
    z = reference.direction(pool(vector), vector["index"], vector["tile"])
    assert UNITS[vector["family"]] == vector["unit"]
    assert z[:32].tolist() == vector["first_32"]
    assert hashlib.sha256(z.astype(np.int8).tobytes()).hexdigest() == vector["sha256_int8"]


@pytest.mark.parametrize("vector", VECTORS["directions"], ids=title)
def test_kernels_perturb_along_the_golden_directions(vector):
    """A zero base, zero coefficients and a shift of one unit show the direction itself."""
    out = np.empty(TILE, dtype=np.float32)
    span = Span(first_tile=vector["tile"], base=np.zeros(TILE, dtype=np.float32), out=out)
    nothing = np.zeros(vector["K"], dtype=np.int64)
    Sweep(pool(vector), [span], 1).materialise_(nothing, 1.0, along=vector["index"], shift=1.0 / vector["unit"])
    assert hashlib.sha256(out.astype(np.int8).tobytes()).hexdigest() == vector["sha256_int8"]


@pytest.mark.parametrize("vector", VECTORS["displacements"], ids=title)
def test_displacements_are_the_golden_sums(vector):
    coefficients = array(vector["coefficients_i64le"], np.int64)
    total = reference.displacement(pool(vector), coefficients, vector["tile"])
    assert total[:8].tolist() == vector["first_8"]
    assert hashlib.sha256(total.astype("<i8").tobytes()).hexdigest() == vector["sum_i64le_sha256"]


@pytest.mark.parametrize("vector", [v for v in VECTORS["displacements"] if v["family"] != "hadamard"], ids=title)
def test_kernels_sum_unstructured_directions_exactly(vector):
    coefficients = array(vector["coefficients_i64le"], np.int64)
    indices = np.flatnonzero(coefficients)
    total, z, words = np.empty(TILE, np.int64), np.empty(TILE, np.int8), np.empty((6, 128), np.uint32)
    gaussian = vector["family"] == "gaussian"
    kernels.displacement_(total, z, words, vector["tile"], indices, coefficients[indices], gaussian, *key(pool(vector)))
    assert hashlib.sha256(total.astype("<i8").tobytes()).hexdigest() == vector["sum_i64le_sha256"]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("vector", VECTORS["models"], ids=title)
def test_whole_models_are_rebuilt_bit_for_bit(vector, threads):
    """Tails of tensors and sparse supports included; what a support leaves out keeps its base value."""
    dtype = DTYPES[vector["dtype"]]
    spans, wanted, tile = [], [], 0
    for tensor in vector["tensors"]:
        base, weights = array(tensor["base_le"], dtype), array(tensor["weights_le"], dtype)
        chosen = np.array(tensor.get("positions", range(base.size)))
        untouched = np.setdiff1d(np.arange(base.size), chosen)
        assert tensor["first_tile"] == tile
        assert base[untouched].tobytes() == weights[untouched].tobytes()
        spans.append(Span(first_tile=tile, base=base[chosen], out=np.empty(chosen.size, dtype)))
        wanted.append(weights[chosen])
        step = alignment(pool(vector))
        tile += -(-chosen.size // step) * step // TILE
    Sweep(pool(vector), spans, threads).materialise_(array(vector["coefficients_i64le"], np.int64), vector["tick"])
    assert [span.out.tobytes() for span in spans] == [weights.tobytes() for weights in wanted]
