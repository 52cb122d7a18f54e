"""The kernels against the reference, and the conversions they contain against torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fedkseed.errors import LedgerError
from fedkseed.federation import Pool
from fedkseed.pool import reference
from fedkseed.pool.seed_pool import TILE, UNITS
from fedkseed.pool.sweep import Span, Sweep, transform

FAMILIES = ["hadamard", "rademacher", "gaussian"]
TICK = 3.1e-7


def sparse_coefficients(size: int, rng: np.random.Generator) -> np.ndarray:
    coefficients = np.zeros(size, dtype=np.int64)
    coefficients[rng.choice(size, 9, replace=False)] = rng.integers(-(2**40), 2**40, 9)
    return coefficients


def rebuilt(
    pool: Pool, base: np.ndarray, coefficients: np.ndarray, dtype: type = np.float32, **perturbation: float
) -> np.ndarray:
    out = np.empty(base.size, dtype)
    Sweep(pool, [Span(first_tile=8, base=base, out=out)], 2).materialise_(coefficients, TICK, **perturbation)
    return out


@pytest.mark.parametrize("length", [1, 127, 4096, 4097, 9000])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rebuild_equals_the_reference(family, length):
    rng = np.random.default_rng(length)
    pool = Pool(family=family, size=256, seed=2**63 + 5)
    base, coefficients = rng.standard_normal(length).astype(np.float32), sparse_coefficients(256, rng)
    assert rebuilt(pool, base, coefficients).tobytes() == reference.weights(pool, base, 8, coefficients, TICK).tobytes()


@pytest.mark.parametrize("shift", [1e-3, -1e-3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_perturbation_is_the_formula_of_the_seed_pool(family, shift):
    """float32(float64(S) * (tick * unit) -+ (eps * unit) * z_k), subtracted from the base."""
    rng = np.random.default_rng(3)
    pool = Pool(family=family, size=128, seed=77)
    base, coefficients = rng.standard_normal(TILE).astype(np.float32), sparse_coefficients(128, rng)
    unit = UNITS[family]
    delta = reference.displacement(pool, coefficients, 8) * (TICK * unit) - (shift * unit) * reference.direction(pool, 5, 8)
    assert rebuilt(pool, base, coefficients, along=5, shift=shift).tobytes() == (base - delta.astype(np.float32)).tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_moves_without_coefficients(family):
    """Not even the sign of zero."""
    base = np.tile(np.array([0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, 3.0], dtype=np.float32), 700)
    pool = Pool(family=family, size=128, seed=1)
    assert rebuilt(pool, base, np.zeros(128, dtype=np.int64)).tobytes() == base.tobytes()


@pytest.mark.parametrize(("dtype", "stored"), [(torch.float16, np.float16), (torch.bfloat16, np.uint16)])
def test_every_sixteen_bit_weight_survives_a_round_trip(dtype, stored):
    patterns = np.arange(2**16, dtype=np.uint16)
    numbers = torch.from_numpy(patterns).view(dtype).float().numpy()
    pool = Pool(family="hadamard", size=128, seed=1)
    out = rebuilt(pool, patterns.view(stored), np.zeros(128, dtype=np.int64), stored).view(np.uint16)
    known = ~np.isnan(numbers)
    assert out[known].tobytes() == patterns[known].tobytes()
    assert np.isnan(torch.from_numpy(out[~known]).view(dtype).float().numpy()).all()


@pytest.mark.parametrize(("dtype", "stored"), [(torch.float16, np.float16), (torch.bfloat16, np.uint16)])
def test_float32_is_rounded_to_sixteen_bits_as_torch_does(dtype, stored):
    """Half to even, through subnormals and overflow: random bit patterns and the neighbours of every half-way point."""
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16)[:, None] + np.array(
        [0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001], np.uint32
    )
    numbers = np.concatenate([bits, ties.ravel()]).view(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    out = rebuilt(Pool(family="rademacher", size=1, seed=0), numbers, np.zeros(1, dtype=np.int64), stored)
    assert out.tobytes() == torch.from_numpy(numbers).to(dtype).view(torch.uint16).numpy().tobytes()


def test_the_transform_is_the_sylvester_matrix():
    columns = np.arange(64)
    matrix = 1 - 2 * (np.bitwise_count(columns[:, None] & columns[None, :]).astype(np.int64) & 1)
    a = np.random.default_rng(0).integers(-(2**50), 2**50, 64)
    assert transform(a).tolist() == (matrix @ a).tolist()


def test_structured_directions_do_not_line_up_with_the_channels_of_a_model():
    """Half the squared gradient in one channel: with masks over less than [0, K) neighbours would correlate by 0.5."""
    pool, width, tiles = Pool(family="hadamard", size=1024, seed=9), 128, 64
    squared = np.full((tiles * TILE // width, width), 0.5 / (width - 1))
    squared[:, 17] = 0.5
    squared = (squared / squared.sum()).ravel()

    def z(k: int) -> np.ndarray:
        return np.concatenate([reference.direction(pool, k, tile) for tile in range(tiles)])

    correlations = [abs(float(np.sum(squared * z(5) * z(5 ^ (1 << bit))))) for bit in range(10)]
    assert max(correlations) < 0.2


def test_coefficients_that_could_not_be_summed_exactly_are_refused():
    coefficients = np.zeros(128, dtype=np.int64)
    coefficients[:2] = 2**52
    with pytest.raises(LedgerError, match=r"2\^53"):
        rebuilt(Pool(family="hadamard", size=128, seed=0), np.zeros(5, np.float32), coefficients)


def test_a_step_moves_the_master_and_shows_the_next_perturbation():
    pool = Pool(family="gaussian", size=16, seed=4)
    master = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    before, out = master.copy(), np.empty_like(master)
    Sweep(pool, [Span(first_tile=0, base=master, out=out)], 2).step_(3, 0.25, 9, 0.5)
    z = [
        np.concatenate([reference.direction(pool, k, tile) for tile in range(2)])[:5000].astype(np.float32) * 0.5
        for k in (3, 9)
    ]
    assert np.array_equal(master, before - np.float32(0.25) * z[0])
    assert np.array_equal(out, master + np.float32(0.5) * z[1])


def test_kernels_compiled_ahead_of_time_are_not_compiled_again(tmp_path):
    def kept():
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}

    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "fedkseed.pool"]
    subprocess.run(command, env=environment, check=True)
    first = kept()
    subprocess.run(command, env=environment, check=True)
    assert kept() == first
    assert {name.split("-")[0] for name in first} >= {"kernels.hadamard_", "kernels.rebuild_", "kernels.step_"}
