"""The benchmark of many clients in miniature: it checks by itself that everything was decided, answered and acknowledged."""

import pytest

from benchmarks.aggregator import NAME
from benchmarks.scale import COHORT, Aggregator, Clients, measured
from fedkseed.codec import decode


def test_the_benchmark_of_many_clients_counts_what_it_measures():
    row = measured(clients=7000, rounds=2)
    assert row["updates"] == 2 * COHORT
    assert row["bytes in"] > 4 * 200
    assert 100 < row["bytes out"] < 200
    assert row["ratio"] == pytest.approx(row["update us"] / row["codec us"])
    assert 0 < row["before MiB"] <= row["largest MiB"]


def test_everybody_is_heard_once_before_anybody_is_heard_again():
    crowd, head = Clients(1000), Aggregator().ledger.head()
    names = [client for client, _ in crowd.updates(head, 1000)]
    assert len(set(names)) == 1000
    assert [client for client, _ in crowd.updates(head, 1000)] == names
    assert {decode(body).federation for _, body in crowd.updates(head, 3)} == {NAME}
