"""The arithmetic of closing a round: exact to the last bit, lossless over many rounds, and bounded."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed.ledger.commit import EXACT, representable, step
from fedkseed.ledger.head import nothing_pending

ratios = st.sampled_from([16.0, 1.0, 1e-3, 3e-7 / 1e-8, 12345.678])
sums = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=8)


def pending(numerators, weight):
    values = np.array(numerators, np.int64)
    return replace(nothing_pending(len(numerators)), numerators=values, weight=weight)


def stepped(numerators, weight, residue=None, *, lr=1.0, tick=1.0, coefficients=None):
    zeros = np.zeros(len(numerators), np.int64)
    residue = zeros if residue is None else np.array(residue, np.int64)
    before = zeros if coefficients is None else np.array(coefficients, np.int64)
    return step(pending(numerators, weight), before, residue, lr=lr, tick=tick, family="hadamard")


@given(sums, st.integers(2**16, 2**40), st.integers(-32768, 32768), ratios)
def test_a_step_follows_the_formula_in_the_order_written(numerators, weight, residue, lr):
    made = stepped(numerators, weight, [residue] * len(numerators), lr=lr)
    exact = [(lr / 1.0) * (float(n) / (65536 * float(weight))) + residue / 65536 for n in numerators]
    if sum(abs(round(x)) for x in exact) >= 2**53:
        assert made is None
    else:
        assert made.delta.tolist() == [round(x) for x in exact]
        assert made.residue.tolist() == [round((x - round(x)) * 65536) for x in exact]


def test_rounding_is_half_to_even():
    made = stepped([65536 // 2, 3 * 65536 // 2, -65536 // 2], 1)
    assert made.delta.tolist() == [0, 2, 0]
    assert made.residue.tolist() == [32768, -32768, -32768]


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(1, 2**21)), min_size=1, max_size=50), ratios)
def test_what_rounding_leaves_is_carried_so_that_nothing_is_lost(rounds, lr):
    total, residue = 0, np.zeros(1, np.int64)
    for numerator, weight in rounds:
        made = stepped([numerator], weight, residue, lr=lr)
        total, residue = total + int(made.delta[0]), made.residue
    exact = sum(Fraction(lr) * Fraction(numerator, 65536 * weight) for numerator, weight in rounds)
    error = abs(exact - total - Fraction(int(residue[0]), 65536))
    largest = max(abs(Fraction(lr) * Fraction(numerator, 65536 * weight)) for numerator, weight in rounds)
    assert error <= len(rounds) * (Fraction(1, 2**16) + largest / 2**50)


def test_a_rate_far_below_a_tick_still_moves_the_model():
    total, residue = 0, np.zeros(1, np.int64)
    for _ in range(1000):
        made = stepped([65536], 1, residue, lr=1 / 64)
        total, residue = total + int(made.delta[0]), made.residue
    assert total == 16  # 1000 / 64, to the nearest
    assert residue.tolist() == [(1000 - 16 * 64) * 1024]


@pytest.mark.parametrize("lr", [1e60, 1e308, float(2**54)])
def test_a_step_beyond_what_is_exact_is_refused(lr):
    assert stepped([65536], 1, lr=lr) is None
    assert stepped([0, 2**62], 1, lr=lr) is None


def test_a_step_that_only_together_with_the_coefficients_is_too_large_is_refused():
    assert stepped([65536], 1, coefficients=[EXACT - 1]) is None
    assert stepped([65536], 1, coefficients=[EXACT - 2]) is not None
    assert stepped([65536, 0], 1, coefficients=[0, 2 - EXACT]).delta.tolist() == [1, 0]
    assert stepped([65536, 0], 1, coefficients=[0, 1 - EXACT]) is None


def test_a_rate_that_overflows_is_refused_even_where_nothing_was_measured():
    assert stepped([0], 1, lr=1e300, tick=1e-300) is None


def test_a_step_may_lead_back_from_the_bound():
    assert stepped([65536], 1, lr=float(EXACT + 2), coefficients=[1 - EXACT]).delta.tolist() == [EXACT + 2]
    assert stepped([-65536], 1, coefficients=[EXACT - 1]).delta.tolist() == [-1]


@pytest.mark.parametrize(("family", "largest"), [("hadamard", 1), ("rademacher", 1), ("gaussian", 8)])
def test_the_bound_counts_the_largest_value_of_a_direction(family, largest):
    assert representable(np.array([EXACT // largest - 1, 0]), family)
    assert not representable(np.array([EXACT // largest - 1, -1]), family)


def test_the_bound_is_checked_without_overflow():
    assert not representable(np.full(65536, 2**54, np.int64), "gaussian")
    assert not representable(np.full(65536, -(2**54), np.int64), "hadamard")
    assert representable(np.full(65536, 2**37 - 1, np.int64), "hadamard")
    assert not representable(np.full(65536, 2**37, np.int64), "hadamard")
