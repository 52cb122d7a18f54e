"""What becomes of updates while everything fails: a federation of real processes under seeded faults, and a checker.

python -m benchmarks.faults --minutes M --seed S [--json] [--out docs/faults.md]
"""
