"""What became of every update: what load processes wrote down, compared with the ledger. Pure.

The words are those of the set test of Jepsen (https://github.com/jepsen-io/jepsen, `jepsen.checker/set-full` and `set`),
for a set whose elements are updates and whose final read is the ledger. An update is its identity, (client, base).

- attempt: the update was handed to the client's side of the broker, at least once.
- acknowledged: the broker confirmed it. From then on the system answers for it.
- counted (Jepsen: ok): it is a member of exactly one version of the log, or of the open round. Refused: it is not, and
  the ledger or a receipt says why.
- lost: acknowledged, and neither counted nor refused; or its receipt says that it counts, and it does not.
- duplicated: counted more than once.
- unexpected: counted and never attempted; or counted with another weight, or other numbers, than the recorded update has.
- recovered: counted and never acknowledged. Jepsen's word for an operation whose outcome its client never learned.
- unknown: never acknowledged, and neither counted nor refused. Nobody was promised anything.

Coefficients are computed again here from the recorded updates, in plain arithmetic and without the product's folding:
they must be those of the log, version by version, and those of the head.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.journal import Record
from fedkseed.codec import decode
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head, Member
from fedkseed.messages import Outcome, Receipt, Update
from fedkseed.packing import unpack_integers

Identity = tuple[str, int]  # client, base
COUNTS: tuple[Outcome, ...] = ("folded", "discounted")
NAMED = 20  # identities named in a verdict, of each kind


@dataclass(slots=True, kw_only=True)
class History:
    """What was written down outside the system."""

    attempts: dict[Identity, bytes] = field(default_factory=dict)  # the update, encoded
    acknowledged: set[Identity] = field(default_factory=set)
    receipts: dict[Identity, set[Outcome]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run came to; counts are of identities."""

    attempts: int
    acknowledged: int
    counted: int
    refused: Mapping[str, int]  # by outcome
    lost: int
    duplicated: int
    unexpected: int
    recovered: int
    unknown: int
    untold: int  # counted, acknowledged, and no receipt came to its client
    versions: int
    coefficients: bool  # those of every version, and of the head, are those of the recorded updates
    named: Mapping[str, Sequence[Identity]]  # some of those at fault

    @property
    def good(self) -> bool:
        """Whether nothing happened that must not."""
        return self.coefficients and not (self.lost or self.duplicated or self.unexpected)


def history(records: Iterable[Record]) -> History:
    """Sort records by what they say."""
    kept = History()
    for record in records:
        identity = (record.client, record.base)
        match record.kind:
            case "sent":
                kept.attempts.setdefault(identity, record.body)
            case "confirmed":
                kept.acknowledged.add(identity)
            case "receipt":
                kept.receipts.setdefault(identity, set()).add(_receipt(record.body).outcome)
    return kept


def judge(kept: History, commits: Sequence[Commit], head: Head) -> Verdict:
    """Compare a history with a ledger that changes no more.

    Args:
        kept: of all load processes.
        commits: the log, from version 1 on.
        head: of the same ledger.
    """
    members = [(member, commit.version) for commit in commits if commit.kind == "round" for member in commit.members]
    members += [(member, head.version + 1) for member in head.pending.members]
    times = Counter((member.client, member.base) for member, _ in members)
    told = _outcomes(kept, head)
    refused = {identity: outcome for identity, outcome in told.items() if identity not in times}
    lost = {identity for identity, outcome in refused.items() if outcome in COUNTS}
    lost |= {identity for identity in kept.acknowledged if identity not in times and identity not in told}
    wrong = {identity for identity in times if identity not in kept.attempts}
    wrong |= {(m.client, m.base) for m, version in members if not _weighed(kept, head, m, version)} - wrong
    twice = {identity for identity, count in times.items() if count > 1}
    silent = kept.attempts.keys() - kept.acknowledged
    faults = {"lost": lost, "duplicated": twice, "unexpected": wrong}
    return Verdict(
        attempts=len(kept.attempts),
        acknowledged=len(kept.acknowledged),
        counted=len(times),
        refused=dict(sorted(Counter(outcome for outcome in refused.values() if outcome not in COUNTS).items())),
        lost=len(lost),
        duplicated=len(twice),
        unexpected=len(wrong),
        recovered=len(silent & times.keys()),
        unknown=len(silent - times.keys() - told.keys()),
        untold=len({identity for identity in times if identity in kept.acknowledged} - kept.receipts.keys()),
        versions=len(commits),
        coefficients=not wrong and _recomputed(kept, commits, head),
        named={kind: sorted(identities)[:NAMED] for kind, identities in faults.items() if identities},
    )


def unanswered(kept: History, head: Head, commits: Iterable[Commit]) -> int:
    """How many acknowledged updates nothing is known of yet; while it shrinks the system is at work."""
    times = {(member.client, member.base) for commit in commits for member in commit.members}
    times |= {(member.client, member.base) for member in head.pending.members}
    return len(kept.acknowledged - times - _outcomes(kept, head).keys())


def _outcomes(kept: History, head: Head) -> dict[Identity, Outcome]:
    """What the ledger, or else a receipt, says of each update; that it counts, if anything says so."""
    told: dict[Identity, Outcome] = {}
    for identity, outcomes in kept.receipts.items():
        refusals = sorted(outcome for outcome in outcomes if outcome not in COUNTS)
        told[identity] = refusals[0] if "voided" in outcomes or len(refusals) == len(outcomes) else "folded"
    for base, receipts in head.inbox.items():
        told |= {(client, base): receipt.outcome for client, receipt in receipts.items()}
    return told


def _weighed(kept: History, head: Head, member: Member, version: int) -> bool:
    """Whether a member of a version has the weight that its recorded update has: max(1, round(256 s n))."""
    if (body := kept.attempts.get((member.client, member.base))) is None:
        return False
    late = version - 1 - member.base
    rounds = head.policy.rounds
    share = 1.0 if rounds.staleness_law == "constant" else round(65536 * (1 + late) ** -rounds.staleness_exponent) / 65536
    return (member.staleness, member.omega) == (late, max(1, round(256 * share * min(_update(body).n, 4096))))


def _recomputed(kept: History, commits: Sequence[Commit], head: Head) -> bool:
    """Whether the log and the head are what the recorded updates add up to."""
    coefficients, residue = np.zeros(head.size, np.int64), np.zeros(head.size, np.int64)
    for commit in commits:
        if commit.kind != "round":
            return False  # nobody rolls back, and no sum is too large
        scalars = _sum(kept, commit.members, head.size) / (65536.0 * float(sum(member.omega for member in commit.members)))
        exact = (commit.lr / head.genesis.tick) * scalars + residue / 65536.0
        delta = np.rint(exact)
        residue = np.rint((exact - delta) * 65536.0).astype(np.int64)
        if not np.array_equal(delta.astype(np.int64), unpack_integers(commit.delta, head.size)):
            return False
        coefficients += delta.astype(np.int64)
    pending = _sum(kept, head.pending.members, head.size)
    return np.array_equal(coefficients, head.coefficients) and np.array_equal(pending, head.pending.numerators)


def _sum(kept: History, members: Iterable[Member], size: int) -> NDArray[np.int64]:
    """Sum of omega * round(g * 2^16), seed by seed."""
    sums = np.zeros(size, np.int64)
    for member, update in _updates(kept, members):
        np.add.at(
            sums, update.seed_indices, member.omega * np.rint(update.gradients.astype(np.float64) * 65536.0).astype(np.int64)
        )
    return sums


def _updates(kept: History, members: Iterable[Member]) -> Iterator[tuple[Member, Update]]:
    return ((member, _update(kept.attempts[member.client, member.base])) for member in members)


def _update(body: bytes) -> Update:
    message = decode(body)
    assert isinstance(message, Update)
    return message


def _receipt(body: bytes) -> Receipt:
    message = decode(body)
    assert isinstance(message, Receipt)
    return message
