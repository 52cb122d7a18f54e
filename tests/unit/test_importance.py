"""The importance of seeds: levels, the distribution they give, and their nibbles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed.errors import DecodeError
from fedkseed.pool.importance import levels, pack, probabilities, spread, unpack

statistics = st.lists(st.tuples(st.integers(0, 1 << 45), st.integers(0, 1 << 20)), min_size=1, max_size=20)
nibbles = st.lists(st.integers(0, 15), min_size=1, max_size=21)


@given(statistics)
def test_levels_follow_the_formula(seen):
    means = [total / 65536 / (count + 1) for total, count in seen]
    low, high = min(means), max(means)
    expected = [round(15 * ((mean - low) / (high - low + 1e-10))) for mean in means]
    sums, counts = (np.array(column, np.int64) for column in zip(*seen, strict=True))
    assert levels(sums, counts).tolist() == expected


def test_seeds_of_which_nothing_is_known_are_all_the_same():
    q = levels(np.zeros(8, np.int64), np.zeros(8, np.int64))
    assert q.tolist() == [0] * 8
    assert probabilities(q).tolist() == [1 / 8] * 8


def test_levels_span_the_range_between_the_least_and_the_most_important():
    sums = np.array([0, 65536, 2 * 65536], np.int64)
    assert levels(sums, np.ones(3, np.int64)).tolist() == [0, 7, 15]


@given(nibbles)
def test_no_seed_is_more_than_e_times_as_likely_as_another(q):
    p = probabilities(np.array(q, np.uint8))
    assert p.sum() == pytest.approx(1.0)
    assert p.max() / p.min() <= math.e * (1 + 1e-12)
    assert p.max() / p.min() == pytest.approx(math.exp((max(q) - min(q)) / 15))


@given(nibbles)
def test_levels_travel_as_nibbles_with_the_low_one_first(q):
    data = pack(np.array(q, np.uint8))
    padded = [*q, 0]
    assert list(data) == [padded[i] | padded[i + 1] << 4 for i in range(0, len(q), 2)]
    assert unpack(data, len(q)).tolist() == q


@pytest.mark.parametrize(("data", "size"), [(b"", 1), (b"\x01", 3), (b"\x01\x02", 2), (b"\x10", 1)])
def test_nibbles_of_another_number_of_seeds_are_refused(data, size):
    with pytest.raises(DecodeError, match="importance"):
        unpack(data, size)


def test_the_example_of_the_documentation_holds():
    q = unpack(bytes.fromhex("0f07"), 3)
    assert q.tolist() == [15, 0, 7]
    assert probabilities(q).tolist() == pytest.approx([0.5116, 0.1882, 0.3001], abs=1e-4)


def test_without_levels_seeds_are_spread_as_far_as_can_be():
    told = spread(None, 200)
    assert math.isclose(told.entropy, math.log(200))
    assert math.isclose(told.ratio, 1)
    assert math.isclose(told.top, 2 / 200)


@given(nibbles)
def test_the_spread_is_that_of_the_probabilities(q):
    p = probabilities(np.array(q, np.uint8))
    told = spread(pack(np.array(q, np.uint8)), len(q))
    assert math.isclose(told.entropy, -sum(each * math.log(each) for each in p), abs_tol=1e-12)
    assert 0 < told.ratio <= 1 + 1e-12
    assert math.isclose(told.top, max(p))


def test_the_spread_of_levels_for_other_seeds_is_refused():
    with pytest.raises(DecodeError):
        spread(b"\x00", 200)
