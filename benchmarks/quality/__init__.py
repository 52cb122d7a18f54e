"""Quality: does it learn, on real data and against the field? `python -m benchmarks.quality` says how."""
