"""The golden vectors of the seed pool, through the reference and through the kernels of the processor."""

import hashlib

import numpy as np
import pytest

from fedkseed.pool import kernels, reference
from fedkseed.pool.seed_pool import TILE, UNITS, key
from fedkseed.pool.sweep import Span, Sweep
from tests.vectors import VECTORS, array, pool, title, trained


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
    tensors = trained(vector)
    spans = [Span(first_tile=tile, base=base, out=np.empty_like(base)) for tile, base, _ in tensors]
    Sweep(pool(vector), spans, threads).materialise_(array(vector["coefficients_i64le"], np.int64), vector["tick"])
    assert [span.out.tobytes() for span in spans] == [weights.tobytes() for _, _, weights in tensors]
