"""The benchmark of the wait for a receipt in miniature: it checks by itself that everything was confirmed and answered."""

from benchmarks.latency import CLIENTS, percentiles, rows


def test_the_benchmark_of_the_wait_measures_both_programs():
    ours, bare = rows(rate=CLIENTS, seconds=1, runs=1)
    assert (ours["program"], bare["program"]) == ("ours", "bare")
    for row in (ours, bare):
        assert 0 <= row["p50 ms"] <= row["p99 ms"]
        assert 0 < row["in all p50 ms"] <= row["in all p99 ms"]
    assert ours["in all p99 ratio"] == ours["in all p99 ms"] / bare["in all p99 ms"]
    assert bare["in all p50 ratio"] == bare["in all p99 ratio"] == 1


def test_a_percentile_is_one_of_the_values():
    assert percentiles([0.001 * i for i in range(100, 0, -1)]) == {"p50": 50.0, "p99": 99.0}
    assert percentiles([0.25]) == {"p50": 250.0, "p99": 250.0}
