"""Benchmarks: one file per question, each with a stated baseline measured in the same run."""
