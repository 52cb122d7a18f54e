"""Small ledgers, and updates for them."""

from dataclasses import fields, replace

import numpy as np

from fedkseed.federation import Policy, Pool, Response, Robust, Rounds, Training
from fedkseed.genesis import Genesis
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import fold, found
from fedkseed.ledger.head import Head
from fedkseed.messages import Evaluation, Update

NAME = "little"
K = 128
LR = 0.5
TICK = LR / 16


def genesis(**changes) -> bytes:
    plain = Genesis(
        federation=NAME,
        layout=(),
        base_digest="0" * 64,
        support_digest=None,
        pool=Pool(size=K),
        objective=Response(kind="response"),
        lr=LR,
        tick=TICK,
    )
    return replace(plain, **changes).encode()


TRAINING = {spec.name for spec in fields(Training)}


def policy(*, robust: Robust | None = None, **settings) -> Policy:
    training = Training(**{"lr": LR} | {name: value for name, value in settings.items() if name in TRAINING})
    rounds = {name: value for name, value in settings.items() if name not in TRAINING}
    return Policy(training=training, rounds=Rounds(**{"cohort": 2} | rounds), robust=robust)


def ledger(**settings) -> Head:
    return found(genesis(), policy(**settings), 1000.0)


def update(head: Head, client: str = "ann", *, base: int | None = None, k=(3,), g=(1.0,), **changes) -> Update:
    """An honest update: g are its scalars at the seeds k."""
    base = head.version if base is None else base
    plain = Update(
        federation=NAME,
        client=client,
        base=base,
        state=head.states[base][:16] if base in head.states else bytes(16),
        n=1,
        k=np.asarray(k, "<u2").tobytes(),
        g=np.asarray(g, "<f2").tobytes(),
        loss=0.5,
        seconds=1.0,
        skipped=0,
    )
    return replace(plain, **changes)


def evaluation(head: Head, version: int, **metrics: float) -> Evaluation:
    state = head.states[version][:16]
    return Evaluation(
        federation=NAME, client="evaluator", version=version, state=state, metrics=metrics, examples=10, seconds=1.0
    )


def at_version(head: Head, version: int) -> tuple[Head, tuple[Commit, ...]]:
    """The head after as many rounds as it takes, every one closed by distinct updates."""
    commits: tuple[Commit, ...] = ()
    while head.version < version:
        count = head.policy.rounds.cohort
        updates = [update(head, f"c{i}", k=(i, i + 1), g=(0.5 * (i + 1), -3.25 * (head.version + 1))) for i in range(count)]
        head, folded = fold(head, updates, 1000.0)
        assert folded.commits, folded.receipts
        commits += folded.commits
    return head, commits


def ledger_bytes(head: Head, commits: tuple[Commit, ...]) -> bytes:
    """Everything that a ledger keeps about its versions and its open round."""
    arrays = (
        head.coefficients,
        head.residue,
        head.importance_sums,
        head.importance_counts,
        head.pending.numerators,
        head.pending.importance_sums,
        head.pending.importance_counts,
        head.pending.scalars,
    )
    known = head.robust
    if known:
        arrays += (known.scalars, known.norms, known.examples)
    inbox = sorted((base, sorted(receipts.items())) for base, receipts in head.inbox.items())
    rest = (head.version, head.floor, head.state, head.pending.weight, head.pending.members, head.window, head.states, inbox)
    rest = (*rest, sorted(head.pending.pairs.items()))
    rest = (*rest, known and (sorted(known.suspicion.items()), sorted(known.quarantined.items()), known.bounds))
    return b"".join(values.astype("<i8").tobytes() for values in arrays) + repr((rest, head.round, commits)).encode()
