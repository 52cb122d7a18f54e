"""What services show and say of whole rounds, against what happened: the real machines, under a virtual clock."""

import logging
import math

import pytest

from fedkseed.codec import encode
from fedkseed.federation import Policy, Rounds, Training
from fedkseed.ledger.log import replay
from fedkseed.ledger.operate import roll_back
from fedkseed.transport.broker import Envelope
from fedkseed.transport.topology import Address, to_aggregator, updates_queue
from tests.federations import LR, NAME, STEPS, K
from tests.ledgers import update
from tests.observed import Watched


def policy(*, importance: bool = False, **rounds) -> Policy:
    return Policy(training=Training(steps=STEPS, lr=LR, importance=importance), rounds=Rounds(**rounds))


def sayings(caplog, message: str) -> list[dict]:
    return [record.fedkseed for record in caplog.records if record.message == message]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return lambda message: sayings(caplog, message)


@pytest.fixture
def one_round():
    """Two clients, of which the slower one takes 30 s, close the first round; nothing of the next one has come."""
    federation = Watched(policy(cohort=2, deadline_seconds=1000.0))
    federation.client("ann", 10.0)
    federation.client("bob", 30.0)
    federation.run(until=lambda: federation.ledger.head().announced == (1, 0))
    federation.run(until=lambda: {federation.value(name, "training_active") for name in ("ann", "bob")} == {1})
    federation.run(until=lambda: federation.value("aggregator", "announced_version") == 1)
    return federation


def test_an_aggregator_shows_how_a_round_went(one_round):
    def value(name, **labels):
        return one_round.value("aggregator", name, **labels)

    assert (value("version"), value("commits_total", kind="round"), value("last_round_members")) == (1, 1, 2)
    assert value("updates_total", outcome="folded") == 2
    assert (value("round_duration_seconds_count"), value("round_duration_seconds_sum")) == (1, 30)
    assert value("round_part_seconds_sum", part="first_update") == 10
    assert value("round_part_seconds_sum", part="goal") == 20
    assert value("round_part_seconds_count", part="commit") == value("round_part_seconds_count", part="announce") == 1
    assert value("update_latency_seconds_sum") == 40
    assert value("update_staleness_versions_bucket", le="0.0") == 2
    assert value("update_weight_sum") == 2 * 256 * 5
    assert value("update_batch_size_count") == 2
    assert value("last_commit_timestamp_seconds") == value("round_opened_timestamp_seconds") == 30
    assert value("round_deadline_timestamp_seconds") == 1030
    assert (value("round_members"), value("round_cohort"), value("round_minimum")) == (0, 2, 1)
    assert (value("announced_version"), value("publications_unconfirmed")) == (1, 0)
    assert [value("state", state=state) for state in ("open", "paused", "closed")] == [1, 0, 0]
    assert (value("ledger_up"), value("ledger_conflicts_total")) == (1, 0)
    assert value("deliveries_held", queue="updates") == 0


def test_an_aggregator_shows_what_a_round_cost_each_client(one_round):
    """Announcement, update and receipt: more than their bodies, by what frames, addresses and answers weigh."""
    low, mean, high = (
        one_round.value("aggregator", "last_round_client_bytes", statistic=statistic) for statistic in ("min", "mean", "max")
    )
    received = one_round.value("bob", "message_framed_bytes_total", direction="received", message="receipt")
    sent = one_round.value("bob", "message_framed_bytes_total", direction="sent", message="update")
    announced = len(encode(one_round.ledger.head().round))
    assert low <= mean <= high
    assert sent + received < high < sent + received + announced + 300
    assert one_round.value("aggregator", "round_client_bytes_count") == 2


def test_a_client_shows_what_it_does(one_round):
    def value(name, **labels):
        return one_round.value("ann", name, **labels)

    assert (value("held_version"), value("catch_ups_total", by="snapshot")) == (1, 1)
    assert value("catch_ups_total", by="delta") == 1
    assert (value("trainings_total", end="trained"), value("training_active")) == (1, 1)
    assert (value("train_steps_total"), value("train_steps_skipped_total")) == (STEPS + 1, 1)
    assert (value("training_seconds_sum"), value("training_loss")) == (10, 1.0)
    assert (value("receipts_total", outcome="folded"), value("receipt_latency_seconds_count")) == (1, 1)
    assert value("messages_total", direction="sent", message="update") == 1
    assert value("messages_total", direction="received", message="receipt") == 1
    assert value("message_bytes_total", direction="received", message="round") > 0
    assert value("publications_total", answer="confirmed") == 2
    assert value("digest_mismatches_total") == 0


def test_an_evaluator_shows_its_scores_and_so_does_the_aggregator():
    federation = Watched(policy(cohort=1, total=2))
    assert math.isnan(federation.value("aggregator", "evaluation_score", metric="loss"))
    federation.evaluator("evaluator")
    federation.client("ann", 10.0)
    federation.run(until=lambda: 2 in federation.ledger.head().evaluations)
    for who in ("evaluator", "aggregator"):
        assert federation.value(who, "evaluated_version") == 2
        assert federation.value(who, "evaluation_score", metric="loss") == 6.0
    assert federation.value("evaluator", "evaluation_seconds_sum") == 6
    assert federation.value("aggregator", "state", state="closed") == 1


def test_what_a_slow_client_sends_too_late_is_abandoned_or_discounted_for_all_to_see(said):
    rounds = {"cohort": 1, "max_staleness": 2, "staleness_law": "polynomial", "deadline_seconds": 1000.0}
    federation = Watched(policy(**rounds))
    federation.client("ann", 10.0)
    federation.client("bob", 25.0)
    federation.client("cec", 45.0)
    federation.reach(5)
    assert federation.value("aggregator", "updates_total", outcome="discounted") >= 1
    assert federation.value("aggregator", "update_staleness_versions_bucket", le="2.0") == 5
    assert federation.value("cec", "trainings_total", end="abandoned") >= 1
    assert said("training abandoned")[0] == {"version": 0}


def test_a_round_that_goes_on_is_counted_as_one():
    federation = Watched(policy(cohort=2, minimum=2, deadline_seconds=50.0))
    federation.client("ann", 10.0)
    federation.run(until=lambda: federation.ledger.head().round.attempt == 2)
    federation.client("bob", 10.0)
    federation.reach(1)
    federation.run(until=lambda: federation.value("aggregator", "version") == 1)
    assert federation.value("aggregator", "round_extensions_total") == 2
    assert federation.value("aggregator", "round_duration_seconds_sum") == federation.ledger.now()
    assert federation.value("aggregator", "round_attempt") == 0


def test_an_aggregator_that_starts_in_an_extended_round_knows_when_its_version_was_made():
    federation = Watched(policy(cohort=1, total=9, deadline_seconds=50.0))
    federation.client("ann", 10.0)
    federation.reach(1)
    federation.processes["ann"].stop()
    federation.run(until=lambda: federation.ledger.head().round.attempt == 2)
    federation.processes["aggregator"].stop()
    federation.aggregator()
    federation.run(until=lambda: federation.value("aggregator", "round_attempt") == 2)
    (made,) = federation.ledger.commits()
    assert federation.value("aggregator", "last_commit_timestamp_seconds") == made.closed_at
    federation.client("bob", 10.0)
    federation.reach(2)
    federation.run(until=lambda: federation.value("aggregator", "version") == 2)
    assert federation.value("aggregator", "round_duration_seconds_sum") == federation.ledger.now() - made.closed_at


def test_an_aggregator_that_starts_before_there_is_a_version_knows_of_none():
    federation = Watched(policy(cohort=1, deadline_seconds=50.0))
    federation.run(until=lambda: federation.ledger.head().round.attempt == 1)
    federation.processes["aggregator"].stop()
    federation.aggregator()
    federation.run(until=lambda: federation.value("aggregator", "round_attempt") == 1)
    assert math.isnan(federation.value("aggregator", "last_commit_timestamp_seconds"))


def test_an_update_that_comes_twice_counts_once():
    federation = Watched(policy(cohort=2, deadline_seconds=1000.0))
    federation.client("ann", 10.0)
    federation.run(until=lambda: federation.value("ann", "receipts_total", outcome="folded") == 1)
    (receipt,) = federation.ledger.head().inbox[0].values()
    assert receipt.client == "ann"
    federation.processes.pop("ann").stop()
    federation.client("ann", 10.0)
    federation.run(until=lambda: federation.value("aggregator", "updates_total", outcome="duplicate") == 1)
    assert federation.value("aggregator", "updates_total", outcome="folded") == 1
    assert federation.value("aggregator", "update_weight_count") == 1


def test_a_letter_that_is_no_message_is_a_dead_letter_of_its_kind(said):
    federation = Watched(policy(cohort=2))
    there = Address(exchange="", key=updates_queue(NAME))
    federation.broker.route(Envelope(to=there, body=b"\xc1"))
    federation.run(until=lambda: federation.value("aggregator", "dead_letters_total", reason="format") == 1)
    assert federation.value("aggregator", "messages_total", direction="received", message="unreadable") == 1
    assert federation.value("aggregator", "messages_total", direction="sent", message="dead_letter") == 1
    assert said("unreadable message")[0]["key"] == updates_queue(NAME)


def test_a_rollback_of_an_operator_is_shown_by_who_announces_it(said):
    federation = Watched(policy(cohort=1, deadline_seconds=20.0))
    federation.client("ann", 10.0)
    federation.reach(2)
    there = replay([next(federation.ledger.commits())], K)
    federation.ledger.transact(lambda head, now: roll_back(head, there, 1, now))
    federation.run(until=lambda: federation.value("aggregator", "commits_total", kind="rollback") == 1)
    assert said("rolled back") == [{"version": 3}]


def test_importance_is_shown_as_it_travels():
    federation = Watched(policy(cohort=1, importance=True))
    assert federation.value("aggregator", "importance_entropy_ratio") == 1
    federation.client("ann", 10.0)
    federation.reach(1)
    federation.run(until=lambda: federation.value("aggregator", "version") == 1)
    assert 0.9 < federation.value("aggregator", "importance_entropy_ratio") < 1
    assert federation.value("aggregator", "importance_entropy_nats") < math.log(K)
    assert federation.value("aggregator", "importance_top_ratio") > 2 / K


def test_what_happened_is_said_once_with_its_numbers(said):
    federation = Watched(policy(cohort=2, total=1, deadline_seconds=1000.0))
    federation.client("ann", 10.0)
    federation.client("bob", 30.0)
    federation.evaluator("evaluator")
    federation.run(until=lambda: 1 in federation.ledger.head().evaluations)
    (closed,) = said("round closed")
    assert {name: closed[name] for name in ("version", "members", "staleness", "seconds")} == {
        "version": 0,
        "members": 2,
        "staleness": 0,
        "seconds": 30.0,
    }
    assert closed["bytes"] > 0
    assert said("training begun")[0] == {"version": 0, "attempt": 0, "steps": STEPS}
    assert said("training ended")[0] == {"version": 0, "loss": 1.0, "seconds": 10.0, "skipped": 1}
    assert said("update confirmed") == [{"version": 0}, {"version": 0}]
    assert said("receipt") == 2 * [{"version": 0, "outcome": "folded", "weight": 1280, "staleness": 0}]
    assert {"version": 1, "scores": {"loss": 7.0}, "seconds": 2.0} in said("evaluation")
    assert [line["by"] for line in said("caught up")].count("delta") >= 2


def test_the_number_of_series_depends_on_no_number_of_clients():
    def series(clients: int) -> set[str]:
        federation = Watched(policy(cohort=clients, deadline_seconds=1000.0))
        for client in (f"c{number}" for number in range(clients)):
            letter = encode(update(federation.ledger.head(), client, federation=NAME))
            federation.broker.route(Envelope(to=to_aggregator(NAME, "update", client), body=letter))
        federation.reach(1)
        federation.run(until=lambda: federation.value("aggregator", "last_round_members") == clients)
        text = federation.registries["aggregator"].text().decode()
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    assert series(10) == series(1000)
