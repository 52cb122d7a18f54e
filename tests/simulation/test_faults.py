"""Whole federations in which things go wrong: letters, clients and the aggregator."""

import pytest

from fedkseed.federation import Incident
from fedkseed_simulator.facts import IncidentHappened
from tests.federations import CLIENTS, STEPS, federation, members, run, train

ROUGH = {"latency_seconds": 1.0, "jitter_seconds": 20.0, "lost": 0.15, "duplicated": 0.15}


def incidents(*happenings):
    return [{"at_seconds": at, "kind": kind, "who": who} for at, kind, who in happenings]


def traced(described, **parts):
    """An outcome, and the (client, base) of all training that was carried out."""
    trained = []
    outcome = run(
        described,
        train=lambda client, assignment: trained.append((client, assignment.base)) or train(client, assignment),
        **parts,
    )
    return outcome, trained


def check(outcome):
    """Nothing counts twice, nothing counts without its receipt, and everybody agrees."""
    counted = members(outcome)
    assert len(counted) == len(set(counted))
    accepted = {(r.client, r.base): r.weight for r in outcome.receipts if r.outcome in ("folded", "discounted")}
    omegas = {(member.client, member.base): member.omega for commit in outcome.log for member in commit.members}
    assert omegas.items() <= accepted.items()
    assert accepted.keys() - omegas.keys() == {(m.client, m.base) for m in outcome.head.pending.members}
    assert len(set(outcome.states.values())) == 1
    assert outcome.mismatches == 0


def test_duplicates_never_count_twice():
    described = federation(total=6, max_staleness=2, cohort=3, simulation={"network": {"duplicated": 0.6}})
    plain = run(federation(total=6, max_staleness=2, cohort=3))
    outcome = run(described)
    assert outcome.repeated > 0
    assert outcome.log == plain.log
    assert outcome.head.coefficients.tolist() == plain.head.coefficients.tolist()
    assert outcome.receipts == plain.receipts
    check(outcome)


@pytest.mark.parametrize("max_staleness", [0, 3])
@pytest.mark.parametrize("seed", range(5))
def test_over_a_rough_network_nothing_is_lost_and_nothing_counts_twice(max_staleness, seed):
    described = federation(
        total=12, max_staleness=max_staleness, cohort=3, deadline_seconds=300.0, simulation={"network": ROUGH, "seed": seed}
    )
    outcome, trained = traced(described)
    assert len(trained) == len(set(trained))
    assert {(receipt.client, receipt.base) for receipt in outcome.receipts} == set(trained)
    assert len(outcome.states) == len(CLIENTS) + 1
    check(outcome)


def test_letters_that_overtake_each_other_do_no_harm():
    described = federation(total=15, max_staleness=3, cohort=2, simulation={"network": {"jitter_seconds": 60.0}})
    outcome = run(described)
    assert outcome.head.version == 15
    assert {version for version, _ in outcome.states.values()} == {15}
    check(outcome)


def test_a_late_joiner_reaches_the_same_state_from_one_snapshot():
    described = federation(total=8, cohort=3, max_staleness=1, simulation={"incidents": incidents((45.0, "join", "dan"))})
    outcome = run(described)
    assert outcome.states["dan"] == outcome.states["ann"]
    assert min(base for client, base in members(outcome) if client == "dan") == 4
    snapshots = [flow for flow in outcome.flows if (flow.participant, flow.kind) == ("dan", "snapshot")]
    assert [(flow.version, flow.messages) for flow in snapshots] == [(4, 1)]
    check(outcome)


def test_one_that_joins_after_the_end_gets_the_last_version():
    described = federation(total=3, cohort=3, simulation={"incidents": incidents((1000.0, "join", "dan"))})
    outcome = run(described)
    assert outcome.states["dan"] == outcome.states["ann"]
    assert outcome.seconds == 3 * STEPS
    assert "dan" not in {client for client, _ in members(outcome)}


def test_a_client_that_leaves_is_not_waited_for_longer_than_the_deadline():
    described = federation(
        total=5, cohort=4, minimum=3, deadline_seconds=50.0, simulation={"incidents": incidents((15.0, "leave", "dan"))}
    )
    outcome = run(described)
    assert [closed.closed_seconds - closed.opened_seconds for closed in outcome.rounds] == [10.0, 50.0, 50.0, 50.0, 50.0]
    assert outcome.head.version == 5


def test_a_client_that_comes_back_goes_on():
    away = incidents((25.0, "leave", "dan"), (62.0, "join", "dan"))
    outcome, trained = traced(federation(total=9, cohort=3, max_staleness=1, simulation={"incidents": away}))
    before, after = [0, 1], [base for client, base in trained if client == "dan"][2:]
    assert [base for client, base in trained if client == "dan"] == before + after
    assert min(after) >= 6
    check(outcome)


def test_a_restarted_client_trains_an_unfinished_version_again_and_a_finished_one_never():
    restarts = incidents((5.0, "restart", "ann"), (19.0, "restart", "bob"), (30.0, "restart", "bob"))
    outcome, trained = traced(federation(total=3, max_staleness=0, simulation={"incidents": restarts}))
    assert sorted(trained) == [(client, base) for client in CLIENTS for base in range(3)]
    # Ann begins version 0 again at 5 s, Bob version 1 at 19 s and version 2 at 30 s: training takes 10 s.
    assert [closed.closed_seconds for closed in outcome.rounds] == [15.0, 29.0, 40.0]
    check(outcome)


@pytest.mark.parametrize("seed", range(5))
def test_restarts_of_everybody_over_a_rough_network_lose_nothing_and_count_nothing_twice(seed):
    whom = [*CLIENTS, "aggregator"]
    restarts = incidents(*((7.3 * i + 0.1, "restart", whom[i % len(whom)]) for i in range(40)))
    described = federation(
        total=12,
        max_staleness=3,
        cohort=3,
        deadline_seconds=300.0,
        simulation={"network": ROUGH, "incidents": restarts, "seed": seed},
    )
    outcome, trained = traced(described)
    assert outcome.head.version == 12
    assert {(receipt.client, receipt.base) for receipt in outcome.receipts} <= set(trained)
    assert len(outcome.states) == len(CLIENTS) + 1
    check(outcome)


def test_a_restart_of_the_aggregator_resumes_the_same_round():
    plain = run(federation(total=4))
    restarted = run(federation(total=4, simulation={"incidents": incidents((15.0, "restart", "aggregator"))}))
    assert restarted.log == plain.log


def test_a_restarted_aggregator_keeps_the_deadline():
    described = federation(
        total=2,
        cohort=4,
        minimum=3,
        deadline_seconds=50.0,
        simulation={"incidents": incidents((5.0, "leave", "dan"), (20.0, "restart", "aggregator"))},
    )
    assert [closed.closed_seconds for closed in run(described).rounds] == [50.0, 100.0]


def test_when_everybody_has_left_the_run_is_over():
    gone = incidents(*((25.0, "leave", name) for name in CLIENTS))
    outcome = run(federation(total=10, simulation={"incidents": gone}))
    assert outcome.head.version == 2
    assert outcome.head.state == "open"
    assert outcome.seconds == 25.0


def test_while_somebody_will_come_back_the_run_goes_on():
    gone = incidents(*((25.0, "leave", name) for name in CLIENTS), *((500.0, "join", name) for name in CLIENTS))
    outcome = run(federation(total=10, cohort=4, deadline_seconds=60.0, simulation={"incidents": gone}))
    assert outcome.head.version == 10
    assert outcome.seconds > 500.0
    check(outcome)


@pytest.mark.parametrize("hopeless", [{"dropout": 1.0}, {"network": {"lost": 1.0}}])
def test_a_round_that_never_closes_ends_the_run(hopeless):
    outcome = run(federation(total=2, deadline_seconds=30.0, simulation=hopeless))
    assert (outcome.head.state, outcome.head.version, outcome.receipts) == ("open", 0, ())


def test_incidents_are_told():
    facts = []
    happening = incidents((5.0, "restart", "ann"))
    run(federation(total=1, simulation={"incidents": happening}), observe=facts.append)
    assert [fact for fact in facts if isinstance(fact, IncidentHappened)] == [
        IncidentHappened(at_seconds=5.0, incident=Incident(**happening[0]))
    ]
