"""Whole federations: synchronous rounds, bounded staleness, how they end."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from fedkseed.errors import GenesisMismatch, SettingError
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.staleness import table
from fedkseed_simulator.facts import RoundClosed, RoundExtended, Scored, TrainingOver, UpdateDecided
from fedkseed_simulator.simulation import Simulation
from tests.federations import (
    CLIENTS,
    LR,
    NAME,
    STEPS,
    TICK,
    K,
    federation,
    genesis,
    members,
    pairs,
    run,
    score,
    simulation,
    train,
)

SLOW = {"speeds": {"law": "pareto", "spread": 0.7}}


def paper(rounds, clients=CLIENTS):
    """FedKSeed as published, synchronous: A_k += c_i * (sum of client i's scalars at seed k), in ticks.

    Exact rational arithmetic up to each rounding that the ledger's definition asks for.
    """
    coefficients, residue = [0] * K, [Fraction(0)] * K
    total = sum(clients.values())
    for base in range(rounds):
        mean = [Fraction(0)] * K
        for client, n in clients.items():
            for k, g in zip(*pairs(client, base), strict=True):
                mean[k] += Fraction(n, total) * Fraction(round(float(g) * 65536), 65536)
        for k in range(K):
            exact = Fraction(LR) / Fraction(TICK) * mean[k] + residue[k]
            ticks = round(exact)
            coefficients[k] += ticks
            residue[k] = Fraction(round((exact - ticks) * 65536), 65536)
    return coefficients


def test_synchronous_rounds_are_the_published_algorithm():
    outcome = run(federation(total=5, max_staleness=0, cohort=4))
    assert outcome.head.coefficients.tolist() == paper(5)
    assert [len(commit.members) for commit in outcome.log] == [4] * 5
    assert outcome.outcomes == {"folded": 20}


def test_synchronous_rounds_are_the_published_algorithm_however_slow_and_far_away_the_clients_are():
    far = {"simulation": SLOW | {"network": {"latency_seconds": 3.0, "jitter_seconds": 9.0, "duplicated": 0.3}}}
    outcome = run(federation(total=5, max_staleness=0, cohort=4, deadline_seconds=1e6, **far))
    assert outcome.head.coefficients.tolist() == paper(5)


def test_a_synchronous_round_takes_as_long_as_its_slowest_client():
    outcome = run(federation(total=3, max_staleness=0, cohort=4, deadline_seconds=1e6, simulation=SLOW))
    slowest = STEPS * max(outcome.slowness.values())
    durations = [closed.closed_seconds - closed.opened_seconds for closed in outcome.rounds]
    assert durations == pytest.approx([slowest] * 3)
    assert outcome.seconds == pytest.approx(3 * slowest)


def test_with_bounded_staleness_nobody_waits_for_the_slowest():
    waiting = run(federation(total=10, max_staleness=0, cohort=4, deadline_seconds=1e6, simulation=SLOW))
    flowing = run(federation(total=10, max_staleness=5, cohort=2, deadline_seconds=1e6, simulation=SLOW))
    assert flowing.seconds < waiting.seconds
    assert max(flowing.staleness) > 0
    assert max(waiting.staleness) == 0


def test_an_update_within_the_bound_is_discounted_by_its_staleness():
    described = federation(total=10, max_staleness=5, cohort=3, staleness_law="polynomial", simulation=SLOW)
    outcome = run(described)
    discounts = table(described.rounds)
    late = [receipt for receipt in outcome.receipts if receipt.outcome == "discounted"]
    assert late
    for receipt in late:
        assert receipt.weight == round(256 * discounts[receipt.staleness] / 65536 * CLIENTS[receipt.client])


def test_stragglers_beyond_the_bound_are_refused_and_counted():
    # Updates are on their way for longer than a round takes, so that the cohort of two leaves the others behind.
    described = federation(total=6, max_staleness=0, cohort=2, simulation={"network": {"latency_seconds": 100.0}})
    outcome = run(described)
    stale = [receipt for receipt in outcome.receipts if receipt.outcome == "stale"]
    assert outcome.outcomes == {"folded": 12, "stale": len(stale)}
    assert len(stale) == 12
    assert all(receipt.weight == 0 and receipt.reason for receipt in stale)
    assert not {(receipt.client, receipt.base) for receipt in stale} & set(members(outcome))


def test_training_that_would_be_refused_is_abandoned_and_costs_nothing():
    trained = []
    described = federation(total=8, max_staleness=0, cohort=2, simulation=SLOW)
    outcome = run(described, train=lambda client, assignment: trained.append(client) or train(client, assignment))
    assert outcome.outcomes == Counter({"folded": 16})
    assert len(trained) == 16
    assert set(trained) < set(CLIENTS)


def test_two_runs_are_the_same_to_the_last_bit():
    rough = {"network": {"latency_seconds": 1.0, "jitter_seconds": 30.0, "lost": 0.1, "duplicated": 0.1}, "dropout": 0.1}
    described = federation(total=12, max_staleness=2, cohort=2, simulation=SLOW | rough)
    facts, again = [], []
    first, second = run(described, observe=facts.append), run(described, observe=again.append)
    assert first.log == second.log
    assert first.head.coefficients.tolist() == second.head.coefficients.tolist()
    assert first.flows == second.flows
    assert facts == again


def test_another_seed_is_another_run():
    first, second = (run(federation(total=5, max_staleness=2, cohort=2, simulation=SLOW | {"seed": seed})) for seed in (0, 1))
    assert first.log != second.log


def test_everybody_ends_with_the_last_version():
    outcome = run(federation(total=6, max_staleness=2, cohort=2, simulation=SLOW))
    digest = state_digest(genesis_digest(genesis()), 6, outcome.head.coefficients)
    assert outcome.states == dict.fromkeys([*CLIENTS, "evaluator"], (6, digest))
    assert outcome.head.round.last
    assert outcome.mismatches == 0


def test_reaching_the_target_ends_training_there():
    outcome = run(federation(target={"metric": "loss", "at_most": 5.0}, max_staleness=0))
    assert outcome.head.state == "closed"
    assert outcome.head.version == 3
    assert outcome.head.evaluations[3] == {"loss": 5.0}
    assert [scored.version for scored in outcome.scores] == [0, 1, 2, 3]
    assert {version for version, _ in outcome.states.values()} == {3}


def test_the_evaluator_scores_the_first_the_last_and_some_in_between():
    outcome = run(federation(total=7, every=3))
    assert [scored.version for scored in outcome.scores] == [0, 3, 6, 7]
    assert outcome.head.evaluations.keys() == {0, 3, 6, 7}


def test_a_run_ends_at_a_virtual_time():
    outcome = run(federation(simulation={"until_seconds": 35.0}))
    assert outcome.head.version == 3
    assert outcome.seconds == 35.0


def test_at_the_deadline_a_round_closes_with_enough_updates():
    outcome = run(federation(total=4, cohort=4, minimum=2, deadline_seconds=30.0, simulation=SLOW))
    assert all(closed.closed_seconds - closed.opened_seconds <= 30.0 for closed in outcome.rounds)
    assert {len(commit.members) for commit in outcome.log} <= {2, 3, 4}
    assert len(outcome.log) == 4


def test_with_too_few_a_round_is_extended_until_there_are_enough():
    facts = []
    described = federation(total=3, cohort=4, minimum=4, deadline_seconds=30.0, simulation={"dropout": 0.5})
    outcome = run(described, observe=facts.append)
    assert [len(commit.members) for commit in outcome.log] == [4] * 3
    extended = [fact for fact in facts if isinstance(fact, RoundExtended)]
    assert extended
    assert extended[0].at_seconds == 30.0


def test_only_the_invited_take_part():
    crowd = {f"c{i}": 1 for i in range(20)}
    described = federation(total=6, cohort=20, minimum=1, deadline_seconds=30.0, participation=0.3)
    outcome = run(described, clients=crowd)
    sizes = [len(commit.members) for commit in outcome.log]
    assert max(sizes) < 20
    assert 0.1 * 20 < np.mean(sizes) < 0.6 * 20
    assert outcome.outcomes.keys() == {"folded"}


def test_importance_travels_with_the_rounds():
    given = []
    described = federation(total=3, training={"importance": True})
    run(described, train=lambda client, assignment: given.append(assignment.round.importance) or train(client, assignment))
    assert given[0] == bytes(K // 2)
    assert any(given[-1])


def test_facts_tell_the_whole_story():
    facts = []
    outcome = run(federation(total=4, max_staleness=0), observe=facts.append)
    decided = [fact for fact in facts if isinstance(fact, UpdateDecided)]
    closed = [fact for fact in facts if isinstance(fact, RoundClosed)]
    assert tuple(fact.receipt for fact in decided) == outcome.receipts
    assert {fact.training_seconds for fact in decided} == {STEPS}
    assert closed == list(outcome.rounds)
    assert [fact.version for fact in closed] == [1, 2, 3, 4]
    assert [fact.loss for fact in closed] == pytest.approx([1.0, 1 / 2, 1 / 3, 1 / 4])
    assert [fact.version for fact in facts if isinstance(fact, Scored)] == [0, 1, 2, 3, 4]
    assert facts[-2] == TrainingOver(at_seconds=40.0, version=4)


def test_bytes_are_counted_by_client_and_round_and_kind():
    outcome = run(federation(total=4, max_staleness=0))
    flows = [flow for flow in outcome.flows if flow.participant == "ann"]
    messages = Counter({})
    for flow in flows:
        messages[flow.direction, flow.kind] += flow.messages
    assert messages == {
        ("up", "request"): 1, ("down", "snapshot"): 1, ("down", "round"): 4, ("up", "update"): 4, ("down", "receipt"): 4,
    }  # fmt: skip
    (update,) = {flow.size for flow in flows if flow.kind == "update"}
    assert 4 * STEPS < update < 4 * STEPS + 200


def test_a_run_without_an_end_is_refused():
    with pytest.raises(SettingError, match=r"rounds\.total"):
        simulation(federation())


@pytest.mark.parametrize("name", ["aggregator", "evaluator"])
def test_a_client_with_the_name_of_a_service_is_refused(name):
    with pytest.raises(SettingError, match=name):
        simulation(federation(total=1), clients={name: 1})


@pytest.mark.parametrize(("who", "kind"), [("zoe", "join"), ("aggregator", "leave"), ("evaluator", "restart")])
def test_an_incident_of_nobody_is_refused(who, kind):
    incident = {"at_seconds": 1.0, "kind": kind, "who": who}
    with pytest.raises(SettingError, match=who):
        simulation(federation(total=1, simulation={"incidents": [incident]}))


def test_the_genesis_of_another_federation_is_refused():
    with pytest.raises(GenesisMismatch, match=f"other, not {NAME}"):
        Simulation(federation=federation(total=1), genesis_bytes=genesis("other"), clients=CLIENTS, train=train, score=score)
