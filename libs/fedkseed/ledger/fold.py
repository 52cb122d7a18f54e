"""What can happen to a ledger: pure changes of its head, with what they give the world to know.

Updates are decided in the order of delivery; when the cohort is reached in the middle of a batch the commit happens
there and the rest is decided against the new head. Within a round the sums, the commit and the digest do not depend on
the order, duplication or batching of its updates. While paused, updates are folded but rounds do not close. A change
that changes nothing returns the very head it was given.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from fedkseed.codec import decode
from fedkseed.federation import Policy
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.decide import Duplicate, Fold, Refusal, decide
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.head import Head, Member, Pending, frozen, nothing_pending
from fedkseed.ledger.reports import Report
from fedkseed.ledger.robust import opened as robustly
from fedkseed.ledger.rounds import MAX_SUM, Turn, announce_again, close_round, end, filed, opening, remembered
from fedkseed.ledger.staleness import table
from fedkseed.ledger.statistics import Integers, histogram
from fedkseed.ledger.tally import Tally, tallies
from fedkseed.messages import STATE_BYTES, Evaluation, Outcome, Receipt, Round, Snapshot, Update
from fedkseed.packing import pack_integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a change gives the world to know, in the order to say it."""

    receipts: tuple[Receipt, ...] = ()  # one per update, in the order of delivery; a duplicate gets its first one again
    reports: tuple[Report, ...] = ()  # what the updates say, in the same order
    voided: tuple[Receipt, ...] = ()  # second receipts, of members whose round was discarded
    commits: tuple[Commit, ...] = ()  # to append to the log
    rounds: tuple[Round, ...] = ()  # to announce
    reason: str = ""  # why a score was ignored


def found(genesis_bytes: bytes, policy: Policy, now: float) -> Head:
    """Open a ledger at version 0: all coefficients zero, the base model itself.

    Args:
        genesis_bytes: as the founder serialised it; kept as it is.
        policy: of the first rounds.
        now: unix seconds.

    Raises:
        GenesisMismatch: the bytes are not a genesis.
    """
    genesis = Genesis.decode(genesis_bytes)
    zeros = frozen(np.zeros(genesis.pool.size, np.int64))
    state = state_digest(genesis_digest(genesis_bytes), 0, zeros)
    opened = opening(genesis, policy, 0, state, importance_sums=zeros, importance_counts=zeros, now=now)
    return Head(
        genesis_bytes=genesis_bytes,
        genesis=genesis,
        policy=policy,
        discounts=table(policy.rounds),
        version=0,
        floor=0,
        forgot=0,
        revision=0,
        state="open",
        coefficients=zeros,
        residue=zeros,
        importance_sums=zeros,
        importance_counts=zeros,
        pending=nothing_pending(genesis.pool.size),
        robust=robustly(None, policy.robust),
        window={0: remembered(state, opened)},
        inbox={0: {}},
        states={0: state},
        round=opened,
        announced=None,
        evaluations={},
    )


def fold(head: Head, updates: Sequence[Update], now: float, sizes: Sequence[int] = ()) -> tuple[Head, Folded]:
    """Decide updates in the order of delivery and fold those that count.

    Args:
        head: the newest head.
        updates: a micro-batch of deliveries; redelivered ones are welcome.
        now: unix seconds, for the rounds that close on the way.
        sizes: bytes of each update as it came, where somebody counted.
    """
    batch = _Batch(head, now)
    receipts = tuple(map(batch.receive, updates, tallies(updates, summed=head.robust is not None)))
    batch.settle()
    return batch.head, Folded(
        receipts=receipts,
        reports=tuple(map(Report.of, updates, sizes or repeat(0))),
        voided=tuple(receipt for turn in batch.turns for receipt in turn.voided),
        commits=tuple(turn.commit for turn in batch.turns if turn.commit),
        rounds=tuple(turn.head.round for turn in batch.turns),
    )


class _Batch:
    """One call of `fold`: sums and receipts are copied once, changed in place, and settled into a head."""

    def __init__(self, head: Head, now: float) -> None:
        self.now = now
        self.turns: list[Turn] = []
        self._start(head)

    def _start(self, head: Head) -> None:
        """Continue from a head."""
        self.head = head
        self._sums = _Sums(head.pending)
        self._members, self._pairs = list(head.pending.members), dict(head.pending.pairs)
        self._decided: dict[tuple[str, str, int], Receipt] = {}  # final receipts since the head

    def receive(self, update: Update, tally: Tally) -> Receipt:
        """Decide one update, and fold it if it counts."""
        if again := self._decided.get((update.federation, update.client, update.base)):
            return again
        match decide(self.head, update, tally):
            case Duplicate(receipt=receipt):
                return receipt
            case Refusal() as refusal:
                return self._refuse(update, refusal)
            case Fold() as counted:
                return self._fold(update, tally, counted)

    def _refuse(self, update: Update, refusal: Refusal) -> Receipt:
        receipt = self._receipt(update, refusal.outcome, 0, refusal.reason)
        if refusal.final and update.base in self.head.window:
            self._decided[update.federation, update.client, update.base] = receipt
        return receipt

    def _fold(self, update: Update, tally: Tally, counted: Fold) -> Receipt:
        """Add an update to the sums; where one could pass 2^62 the round closes first, where the cohort is full after."""
        if self._members and not self._sums.fits(counted):
            self._close()
            return self.receive(update, tally)
        self._sums.add(counted)
        member = Member(
            client=update.client,
            base=update.base,
            omega=counted.omega,
            staleness=counted.staleness,
            evidence=counted.evidence,
        )
        self._members.append(member)
        if counted.evidence:
            self._pairs[update.client, update.base] = (update.k, update.g)
        receipt = self._receipt(update, counted.outcome, counted.omega, "")
        self._decided[update.federation, update.client, update.base] = receipt
        if self.head.state == "open" and len(self._members) >= self.head.policy.rounds.cohort:
            self._close()
        return receipt

    def _receipt(self, update: Update, outcome: Outcome, omega: int, reason: str) -> Receipt:
        return Receipt(
            federation=self.head.genesis.federation,
            client=update.client,
            base=update.base,
            outcome=outcome,
            staleness=self.head.version - update.base,
            weight=omega,
            version=self.head.version,
            reason=reason,
        )

    def _close(self) -> None:
        """Commit the round and continue from the next version."""
        self.settle()
        self.turns.append(close_round(self.head, self.now))
        self._start(self.turns[-1].head)

    def settle(self) -> None:
        """Make a head of what was decided since the last one."""
        if not self._decided:
            return
        numerators, importance_sums, importance_counts = self._sums.vectors()
        pending = Pending(
            numerators=frozen(numerators),
            weight=sum(member.omega for member in self._members),
            importance_sums=frozen(importance_sums),
            importance_counts=frozen(importance_counts),
            members=tuple(sorted(self._members, key=attrgetter(*Member.__slots__))),  # by tuples, which are quick to compare
            scalars=frozen(self._sums.scalars),
            pairs=self._pairs,
        )
        inbox = filed(self.head.inbox, tuple(self._decided.values()))
        self._start(replace(self.head, revision=self.head.revision + 1, pending=pending, inbox=inbox))


class _Sums:
    """The pending sums of a round, while updates are added: kept apart, and added up together when somebody asks.

    A bound of all sums says almost always that none of them passes 2^62; where it does not, they are looked at.
    """

    def __init__(self, pending: Pending) -> None:
        self._numerators, self._importance_sums = pending.numerators.copy(), pending.importance_sums.copy()
        self._importance_counts = pending.importance_counts.copy()
        self.scalars = pending.scalars  # as they came, for robust folding
        self._apart: list[Fold] = []
        self._bound = self._largest()

    def fits(self, counted: Fold) -> bool:
        """Whether no sum would pass 2^62."""
        if self._bound + _most(counted) <= MAX_SUM:
            return True
        numerators, importance_sums, _ = self.vectors()
        tally = counted.tally
        after = np.abs(_with(numerators, tally.seeds, counted.omega * tally.sums)).max(initial=0)
        return bool(max(after, _with(importance_sums, tally.seeds, tally.importance).max(initial=0)) <= MAX_SUM)

    def add(self, counted: Fold) -> None:
        """Add an update."""
        self._apart.append(counted)
        self._bound += _most(counted)

    def vectors(self) -> tuple[Integers, Integers, Integers]:
        """Numerators, sums and counts of the importance: int64[K] each."""
        if self._apart:
            tallies = [counted.tally for counted in self._apart]
            seeds = np.concatenate([tally.seeds for tally in tallies])
            weighted = np.concatenate([counted.omega * counted.tally.sums for counted in self._apart])
            np.add.at(self._numerators, seeds, weighted)
            np.add.at(self._importance_sums, seeds, np.concatenate([tally.importance for tally in tallies]))
            np.add.at(self._importance_counts, seeds, np.concatenate([tally.counts for tally in tallies]))
            if pairs := [counted.tally.pairs for counted in self._apart if counted.evidence]:
                self.scalars = self.scalars + histogram(np.abs(np.concatenate(pairs)))
            self._apart, self._bound = [], self._largest()
        return self._numerators, self._importance_sums, self._importance_counts

    def _largest(self) -> int:
        return int(max(np.abs(self._numerators).max(), self._importance_sums.max()))


def _with(values: Integers, seeds: NDArray[np.intp], added: Integers) -> Integers:
    """A copy of sums, with more at some seeds."""
    changed = values.copy()
    np.add.at(changed, seeds, added)
    return changed


def _most(counted: Fold) -> int:
    """What an update adds to any sum at the most."""
    return max(counted.omega * counted.tally.largest, counted.tally.largest_importance)


def close(head: Head, version: int, attempt: int, now: float) -> tuple[Head, Folded]:
    """Answer a deadline: commit with at least the policy's minimum, announce another attempt with fewer.

    Naming the attempt makes it safe to be late or to answer twice: any other than the open one changes nothing.
    """
    if head.state != "open" or (version, attempt) != (head.version, head.round.attempt):
        return head, Folded()
    if len(head.pending.members) >= head.policy.rounds.minimum:
        return told(close_round(head, now))
    return told(Turn(head=announce_again(head, now)))


def score(head: Head, evaluation: Evaluation, now: float) -> tuple[Head, Folded]:
    """Keep the scores of a version, and end training when they reach the policy's target.

    Scores of another federation, by anybody but the policy's evaluators, of an unknown or long past version, or of another
    state are ignored with a reason. Values that are not finite say nothing that could be compared, and are left out.
    """
    state = head.states.get(evaluation.version)
    if evaluation.federation != head.genesis.federation:
        return head, Folded(reason=f"this is federation {head.genesis.federation}")
    if evaluation.client not in head.policy.rounds.evaluators:
        return head, Folded(reason=f"{evaluation.client} is not an evaluator of this federation")
    if state is None:
        return head, Folded(reason=f"version {evaluation.version} is unknown or too old to be scored")
    if evaluation.state != state[:STATE_BYTES]:
        return head, Folded(reason=f"state digest is not that of version {evaluation.version}")
    scores = {name: value for name, value in evaluation.metrics.items() if math.isfinite(value)}
    scored = replace(head, revision=head.revision + 1, evaluations={**head.evaluations, evaluation.version: scores})
    return told(end(scored, now)) if head.state != "closed" and _reached(head.policy, scores) else (scored, Folded())


def _reached(policy: Policy, scores: Mapping[str, float]) -> bool:
    """Say whether scores meet the target, if there is one."""
    target = policy.rounds.target
    return target is not None and target.metric in scores and target.reached(scores[target.metric])


def announced(head: Head, version: int, attempt: int) -> tuple[Head, Folded]:
    """Record that an announcement was published; an older one than the newest known changes nothing."""
    if head.announced is not None and (version, attempt) <= head.announced:
        return head, Folded()
    return replace(head, revision=head.revision + 1, announced=(version, attempt)), Folded()


def unannounced(head: Head, commits: Iterable[Commit]) -> tuple[Round, ...]:
    """Return the announcements that are missing, in order, as they are stored.

    Args:
        head: the newest head.
        commits: the log after the version that was announced last (`store.commits(head.announced[0])`), or all of it.
    """
    known = head.announced or (-1, 0)
    between = [commit.round for commit in commits if known[0] < commit.version < head.version]
    missing = tuple(message for message in map(decode, between) if isinstance(message, Round))
    return (*missing, head.round) if (head.version, head.round.attempt) > known else missing


def untold(head: Head) -> tuple[Receipt, ...]:
    """Return the second receipts that go with the missing announcements, by base and client; none when none is missing.

    What voids a round opens another one, so whoever announces that tells the members too. Some may have been told before.
    """
    known = head.announced or (-1, 0)
    if (head.version, head.round.attempt) <= known:
        return ()
    kept = (receipt for receipts in head.inbox.values() for receipt in receipts.values())
    voided = (receipt for receipt in kept if receipt.outcome == "voided" and receipt.version >= known[0])
    return tuple(sorted(voided, key=attrgetter("base", "client")))


def snapshot(head: Head) -> Snapshot:
    """Return the whole ledger at its newest version, for a participant that cannot follow by differences."""
    return Snapshot(
        federation=head.genesis.federation,
        genesis=head.genesis_bytes,
        version=head.version,
        state=head.digest[:STATE_BYTES],
        coefficients=pack_integers(head.coefficients),
        importance=head.round.importance,
        round=head.round,
    )


def told(turn: Turn) -> tuple[Head, Folded]:
    """Return one turn of the ledger as the outcome of a change."""
    commits = (turn.commit,) if turn.commit else ()
    return turn.head, Folded(voided=turn.voided, commits=commits, rounds=(turn.head.round,))
