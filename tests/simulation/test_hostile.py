"""Hostile clients in a simulation: what they send, and what robust folding makes of it."""

import numpy as np
import pytest

from fedkseed.errors import SettingError
from fedkseed.federation import Hostile
from fedkseed_client.events import Trained
from fedkseed_simulator.hostile import attacked
from tests.federations import K, federation, run, train

CROWD = {f"c{i}": 10 for i in range(7)}
ROBUST = {"quarantine": 6.0}


def shared(client, assignment) -> Trained:
    """Everybody measures the same gradient, in an order of its own."""
    trained = train(client, assignment)
    seeds = np.frombuffer(trained.k, "<u2").astype(int) % 16
    g = np.where(seeds % 3 == 0, 1.0, -1.0) * (1.0 + seeds / 16)
    return Trained(
        base=assignment.base, k=seeds.astype("<u2").tobytes(), g=g.astype("<f2").tobytes(), loss=1.0, seconds=0.0, skipped=0
    )


def simulated(attack=None, *, robust=None, factor=10.0):
    hostile = [{"who": "c0", "attack": attack, "factor": factor}] if attack else []
    described = federation(simulation={"hostile": hostile}, robust=robust, cohort=7, total=6)
    return run(described, clients=CROWD, train=shared)


def sent(attack, factor=10.0):
    honest = Trained(base=0, k=bytes(8), g=np.array([1, -2, 0.5, -30000], "<f2").tobytes(), loss=0.5, seconds=1.0, skipped=0)
    false = attacked(honest, [Hostile(who="eve", attack=attack, factor=factor)], "eve")
    assert attacked(honest, [Hostile(who="eve", attack=attack)], "ann") == honest
    return np.frombuffer(false.g, "<f2").tolist()


def test_attacks_are_what_they_are_called():
    assert sent("huge") == [32768.0] * 4
    assert np.isnan(sent("nan")).all()
    assert sent("sign-flip") == [-1.0, 2.0, -0.5, 30000.0]
    assert sent("constant", 3.0) == [3.0] * 4
    assert sent("scaled", 2.0) == [2.0, -4.0, 1.0, -32768.0]


def test_a_hostile_client_must_be_there():
    with pytest.raises(SettingError, match="hostile: nobody is called eve"):
        run(federation(simulation={"hostile": [{"who": "eve", "attack": "nan"}]}, total=1))


def test_without_robust_folding_one_client_decides_where_the_model_goes():
    honest, hostile = simulated().head.coefficients, simulated("huge").head.coefficients
    assert np.abs(hostile).max() > 1000 * np.abs(honest).max()


@pytest.mark.parametrize(("attack", "factor"), [("huge", 1.0), ("sign-flip", 1.0), ("scaled", 100.0), ("constant", 1000.0)])
def test_robust_folding_excludes_a_hostile_client_and_nobody_else(attack, factor):
    outcome = simulated(attack, robust=ROBUST, factor=factor)
    assert set(outcome.head.robust.quarantined) == {"c0"}
    assert outcome.outcomes["quarantined"] == 1  # then it trains no more
    honest = simulated(robust=ROBUST)
    assert not honest.head.robust.quarantined
    assert np.sign(outcome.head.coefficients[:16]).tolist() == np.sign(honest.head.coefficients[:16]).tolist()
    assert len(outcome.head.coefficients) == K
