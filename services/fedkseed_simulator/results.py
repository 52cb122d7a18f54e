"""The outcome of a simulation as the numbers of its report."""

import math
from collections import Counter
from collections.abc import Mapping

from fedkseed.federation import Federation
from fedkseed.genesis import Genesis
from fedkseed.pool import importance
from fedkseed_simulator.facts import Outcome
from fedkseed_simulator.report import ClientRow, Decided, Report, Score, Traffic

BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def report(
    federation: Federation,
    outcome: Outcome,
    *,
    examples: Mapping[str, int],
    final: Mapping[str, float],
    weights_digest: str,
    ledger_size: int,
    wall_seconds: float,
) -> Report:
    """Put a report together.

    Args:
        federation: what was run.
        outcome: what it came to.
        examples: how many each client holds.
        final: scores of the exported model; they replace those that the working model gave its last version.
        weights_digest: of the exported model.
        ledger_size: bytes of the artifact.
        wall_seconds: real time of the run.
    """
    head = outcome.head
    levels = importance.levels(head.importance_sums, head.importance_counts)
    return Report(
        name=federation.name,
        ending=_ending(federation, outcome),
        facts=_facts(federation, outcome, weights_digest),
        scores=_scores(outcome, final),
        decided=_decided(outcome),
        traffic=_traffic(outcome, examples),
        participations=len(outcome.receipts),
        model_size=model_size(head.genesis),
        ledger_size=ledger_size,
        probabilities=tuple(importance.probabilities(levels).tolist()),
        clients=_clients(outcome, examples),
        virtual_seconds=outcome.seconds,
        wall_seconds=wall_seconds,
    )


def model_size(genesis: Genesis) -> int:
    """Bytes of the trainable tensors as stored: what an exchange of weights moves, one way."""
    return sum(math.prod(spec.shape) * BYTES[spec.dtype] for spec in genesis.layout)


def _ending(federation: Federation, outcome: Outcome) -> str:
    target = federation.rounds.target
    last = outcome.scores[-1].metrics if outcome.scores else {}
    if target and target.metric in last and target.reached(last[target.metric]):
        return f"the target was reached: {target.metric} {last[target.metric]:.4g} at version {outcome.scores[-1].version}"
    if outcome.head.state == "closed":
        return f"{outcome.head.version} versions were committed"
    return "its time was up, or nobody was left"


def _facts(federation: Federation, outcome: Outcome, weights_digest: str) -> tuple[tuple[str, str], ...]:
    genesis, training, rounds = outcome.head.genesis, federation.training, federation.rounds
    parameters = sum(math.prod(spec.shape) for spec in genesis.layout)
    pool = genesis.pool
    return (
        ("base model", f"{federation.model.base}, {parameters:,} trainable parameters"),
        ("support", federation.model.support or "all parameters"),
        ("seed pool", f"{pool.family}, K = {pool.size}, seed {pool.seed}"),
        ("training", f"{training.steps} steps of batch {training.batch}, eps {training.eps:g}, learning rate {training.lr:g}"),
        ("directions of a batch", f"{training.directions_per_batch}"),
        ("rounds", f"cohort {rounds.cohort}, staleness up to {rounds.max_staleness}, {rounds.staleness_law}"),
        ("genesis: base digest", genesis.base_digest),
        ("state digest", outcome.head.digest.hex()),
        ("weights digest", weights_digest),
    )


def _scores(outcome: Outcome, final: Mapping[str, float]) -> tuple[Score, ...]:
    """The scores by version; the last version's are those of the exported model."""
    version = outcome.head.version
    earlier = [Score(version=s.version, seconds=s.at_seconds, metrics=s.metrics) for s in outcome.scores if s.version < version]
    return (*earlier, Score(version=version, seconds=outcome.seconds, metrics=final))


def _decided(outcome: Outcome) -> tuple[Decided, ...]:
    counts = Counter((receipt.outcome, receipt.staleness) for receipt in outcome.receipts)
    return tuple(Decided(outcome=what, staleness=staleness, count=n) for (what, staleness), n in sorted(counts.items()))


def _traffic(outcome: Outcome, clients: Mapping[str, int]) -> tuple[Traffic, ...]:
    """The clients' messages by type and direction; the evaluator's are not what a client pays."""
    messages: Counter[tuple[str, bool]] = Counter()
    sizes: Counter[tuple[str, bool]] = Counter()
    for flow in outcome.flows:
        if flow.participant in clients:
            messages[flow.kind, flow.direction == "up"] += flow.messages
            sizes[flow.kind, flow.direction == "up"] += flow.size
    return tuple(
        Traffic(kind=kind, direction="up" if up else "down", messages=messages[kind, up], size=sizes[kind, up])
        for kind, up in sorted(sizes)
    )


def _clients(outcome: Outcome, examples: Mapping[str, int]) -> tuple[ClientRow, ...]:
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    for receipt in outcome.receipts:
        (accepted if receipt.weight else refused)[receipt.client] += 1
        weight[receipt.client] += receipt.weight
    return tuple(
        ClientRow(
            name=name,
            examples=n,
            speed=outcome.slowness[name],
            accepted=accepted[name],
            refused=refused[name],
            weight=weight[name],
        )
        for name, n in sorted(examples.items())
    )
