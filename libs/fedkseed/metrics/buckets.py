"""Upper bounds of the buckets of histograms, from what a federation can be like: from a simulation to rounds of a day."""

BRIEF_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
BYTES = (500.0, 1000.0, 2000.0, 3000.0, 4000.0, 4500.0, 5000.0, 6000.0, 6600.0, 7200.0, 10000.0, 20000.0, 50000.0, 1e5, 1e6)
STALENESS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0)
WEIGHTS = tuple(4.0**power for power in range(11))  # 1 .. 2^20: 256 for each of at most 4096 examples
BATCHES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
