"""The benchmark of several aggregators in miniature: it checks by itself that every update counted."""

from benchmarks.several import COUNTS, rows


def test_the_benchmark_of_several_aggregators_compares_them_with_one():
    found = rows(clients=7, rounds=2, runs=1)
    assert [row["aggregators"] for row in found] == list(COUNTS)
    assert found[0]["over one"] == found[0]["processor ratio"] == 1
    assert all(row["updates 1/s"] > 0 and row["processor us"] > 0 for row in found)
