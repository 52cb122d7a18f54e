"""The benchmark of the aggregator in miniature: it checks by itself that everything was folded, answered and acknowledged."""

from benchmarks.aggregator import rows


def test_the_benchmark_of_the_aggregator_counts_what_it_measures():
    (row,) = rows(clients=7, rounds=2, runs=2)
    assert row["updates"] == 14
    assert row["update bytes"] > 4 * 200
    assert 100 < row["receipt bytes"] < 200
    assert row["redis bytes"] > 0
    assert row["ratio"] > 0
    assert abs(row["ours 1/s"] / row["bare 1/s"] / row["ratio"] - 1) < 1e-9
