"""What chance decides in a simulation."""

import numpy as np
import pytest

from fedkseed.federation import Simulation, Speeds
from fedkseed_simulator.circumstances import drops_out, generator, slowness

NAMES = [f"c{i}" for i in range(500)]


def of(law, spread=1.0, seed=0):
    settings = Simulation(seed=seed, speeds=Speeds(law=law, spread=spread))
    return np.array([slowness(settings, name) for name in NAMES])


def test_a_generator_is_the_same_for_the_same_purpose_and_another_for_any_other():
    keys = [(0, "speed", "ann"), (1, "speed", "ann"), (0, "dropout", "ann"), (0, "speed", "bob"), (0, "speed", "ann", 1)]
    draws = [generator(*key).integers(2**63) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [generator(*key).integers(2**63) for key in keys]


def test_at_constant_speed_all_are_alike():
    assert (of("constant") == 1.0).all()


def test_log_normal_speeds_have_median_one_and_the_spread_as_sigma():
    logs = np.log(of("log-normal", 0.5))
    assert abs(np.median(logs)) < 0.1
    assert abs(logs.std() - 0.5) < 0.05


def test_pareto_speeds_are_at_least_one_and_heavier_the_smaller_the_shape():
    heavy, light = of("pareto", 1.0), of("pareto", 3.0)
    assert heavy.min() >= 1.0
    assert abs(np.mean(heavy > 10.0) - 0.1) < 0.05  # P(X > x) = x^-shape
    assert heavy.max() > light.max()


def test_another_seed_makes_others_slow():
    assert not np.array_equal(of("pareto"), of("pareto", seed=1))


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_drop_outs_are_as_frequent_as_stated(chance):
    settings = Simulation(dropout=chance)
    gone = [drops_out(settings, name, version, 0) for name in NAMES for version in range(4)]
    assert abs(np.mean(gone) - chance) < 0.05


def test_who_drops_out_of_an_attempt_may_come_to_the_next():
    settings = Simulation(dropout=0.5)
    assert {(drops_out(settings, name, 0, 0), drops_out(settings, name, 0, 1)) for name in NAMES} == {
        (False, False), (False, True), (True, False), (True, True),
    }  # fmt: skip
