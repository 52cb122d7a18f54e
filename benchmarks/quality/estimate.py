"""How long a run takes on two quiet cores, and a miniature of it.

The figures are those of SmolLM2-135M in bfloat16, the forward pass on an EPYC with AVX-512, the others on a processor with
AMX; where a run has a record, what it took is known.
"""

from dataclasses import replace

from benchmarks.quality.experiments import Run
from fedkseed.federation import LabelWords
from fedkseed.zo.estimator import evaluations

FORWARD = 0.028  # seconds for an example of some twenty tokens
PASS = {"sparse": 0.01, "hadamard": 0.15, "rademacher": 0.15, "gaussian": 0.26}  # over the weights, twice a step
OPTIMISER = {"fedavg": 0.35, "fedit": 0.02}  # seconds of a step
START = 2.0  # to open the base and read the examples
CLIENTS = 20  # where it is not said how many there are
HALF_PRECISION = 4.0  # for each step of a recorded update


def seconds(run: Run) -> float:
    """An estimate, in real seconds."""
    described = run.federation
    training, rounds, plan = described.training, described.rounds, described.evaluation
    long = described.objective.max_tokens / (24 if isinstance(described.objective, LabelWords) else 16)
    versions = 0 if run.method == "zero-shot" else rounds.total or 1
    scored = 1 + -(-versions // plan.every)
    scoring = scored * ((plan.examples or 400) * FORWARD / 2 * long + plan.rouge_examples * plan.rouge_tokens * 0.04)
    if run.method == "half-precision":
        return START + HALF_PRECISION * training.steps
    members = min(rounds.cohort, rounds.participation * (getattr(described.data.partition, "clients", None) or CLIENTS))
    return START + scoring + versions * members * _training(run, training.batch * FORWARD * long)


def _training(run: Run, forward: float) -> float:
    """Of one client in one round."""
    training = run.federation.training
    if run.method in OPTIMISER:
        return training.steps * (3 * forward + OPTIMISER[run.method])
    kind = "sparse" if run.federation.model.support else run.federation.pool.family
    rebuilding = PASS["gaussian"] if kind == "gaussian" else 0.0  # what every step adds to the next version
    return evaluations(training.steps, training.directions_per_batch) * (forward + PASS[kind]) + training.steps * rebuilding


def miniature(run: Run) -> Run:
    """A run small enough for its direction to be seen in seconds: shorter texts, fewer clients, steps, rounds and examples."""
    described = run.federation
    training, rounds, plan, objective = described.training, described.rounds, described.evaluation, described.objective
    dear = described.model.support is None  # where all parameters are written for every loss
    directions = min(training.directions_per_batch, 4)
    steps = min(max(2, training.steps // (40 if run.method == "half-precision" else 4)), 4 if dear else 8)
    steps = max(directions, steps // directions * directions)
    noisy = directions > 1 or rounds.participation < 0.1  # a few shared directions, or one client a round, say little
    most = 4 if noisy and not dear else 2
    small = replace(
        described,
        objective=replace(objective, max_tokens=objective.max_tokens // 2),
        training=replace(training, steps=steps, directions_per_batch=directions, batch=4),
        rounds=replace(
            rounds,
            total=min(rounds.total or 1, most),
            cohort=max(1, rounds.cohort // 2),
            participation=max(0.05, rounds.participation / 2),
            deadline_seconds=rounds.deadline_seconds * steps / training.steps,
        ),
        evaluation=replace(plan, every=1000, examples=24, rouge_examples=min(2, plan.rouge_examples), rouge_tokens=8),
    )
    return replace(run, federation=small)
