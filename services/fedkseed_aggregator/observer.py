"""What an aggregator does, as metrics and lines of the log: derived from its events and effects, and from its ledger.

The ledger's changes say what became of updates and rounds, at the time of its store. What one aggregator did not see, because
it has just begun or another one did it, is left out of durations rather than guessed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from fedkseed import logs
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head
from fedkseed.ledger.statistics import PAIR
from fedkseed.ledger.watched import Looked, Sight, Transacted
from fedkseed.messages import Receipt, Round
from fedkseed.metrics.services import AggregatorMetrics
from fedkseed.pool import importance
from fedkseed.traffic import Traffic
from fedkseed.transport.door import Undecodable
from fedkseed_aggregator.costs import Costs
from fedkseed_aggregator.effects import Effect, Fold, MarkAnnounced
from fedkseed_aggregator.events import Changed, EvaluationArrived, Event, Excess, Recalled
from fedkseed_aggregator.patience import Unanswered

TOLD, TOLD_SECONDS = 5, 60.0  # senders over their quota that are named, and how often


class Observer:
    """Sees every event and effect of one aggregator, and every change of its ledger; on the thread that decides.

    Args:
        metrics: of the aggregator.
        traffic: of its connection.
        waiting: called whenever the ledger was asked in vain.
        clock: seconds that only grow.
        log: the log of the ledger, after a version.
    """

    def __init__(
        self,
        metrics: AggregatorMetrics,
        traffic: Traffic,
        waiting: Callable[[], None],
        clock: Callable[[], float],
        log: Callable[[int], Iterable[Commit]],
    ) -> None:
        self._log = log
        self._metrics, self._traffic, self._waiting, self._clock = metrics, traffic, waiting, clock
        self._costs = Costs()
        self._excess: Counter[tuple[str, str]] = Counter()  # since it was told of, by queue and routing key
        self._told = -TOLD_SECONDS
        self._answered = False  # the ledger, the last time
        self._opened: dict[int, float] = {}  # unix seconds, by version
        self._begun: tuple[int, float] | None = None  # the open version, and when its first update was folded
        self._committed: dict[int, float] = {}  # by our clock, versions that are not announced yet
        self._stood: int | None = None  # the version that importance was shown of
        self._scored: int | None = None
        self._rolled_back = 0  # the newest version that a rollback made

    def missing(self) -> list[str]:
        """What must be there before the service can work, and is not."""
        return [] if self._answered else ["the ledger is not reachable, or not verified yet"]

    def __call__(self, happening: Event | Effect) -> None:
        """See an event or an effect."""
        match happening:
            case Recalled(commits=commits):
                self._recalled(commits)
            case Fold(arrivals=arrivals):
                self._metrics.updates.arrived(len(arrivals))
                self._costs.arrived(arrivals)
            case MarkAnnounced(version=version):
                self._announced(version)
            case EvaluationArrived(arrival=arrival):
                told = arrival.message
                logs.info(
                    "evaluation", client=told.client, version=told.version, scores=dict(told.metrics), seconds=told.seconds
                )
            case Changed(folded=folded) if folded.reason:
                logs.warning("scores ignored", reason=folded.reason)
            case Excess(dropped=dropped):
                self._dropped(dropped)
            case Undecodable():
                self._traffic.unreadable(happening)
            case _:
                pass

    def _dropped(self, dropped: Mapping[tuple[str, str], int]) -> None:
        """Somebody floods a queue; the log is not flooded with it."""
        for (queue, _), count in dropped.items():
            self._traffic.over_quota(queue, count)
        self._excess.update(dropped)
        if self._clock() >= self._told + TOLD_SECONDS:
            self._told = self._clock()
            for (queue, key), count in self._excess.most_common(TOLD):
                logs.warning("over quota", queue=queue, key=key, dropped=count)
            self._excess.clear()

    def unanswered(self, happening: Unanswered) -> None:
        """See the ledger not answering."""
        self._answered = False
        self._metrics.ledger.unreachable()
        self._waiting()
        logs.warning("waiting for the ledger", reason=happening.reason, again_seconds=happening.again_seconds)

    def ledger(self, sight: Sight) -> None:
        """See the ledger."""
        if not self._answered:
            logs.info("the ledger answers")
        self._answered = True
        self._metrics.ledger.answered()
        match sight:
            case Looked(head=head):
                self._stands(head)
            case Transacted():
                self._transacted(sight)

    def _transacted(self, change: Transacted) -> None:
        before, after, folded = change.before, change.after, change.folded
        self._metrics.ledger.transacted(change.seconds, change.attempts)
        self._decided(before, folded.receipts, change.now)
        self._metrics.updates.decided(Counter(receipt.outcome for receipt in folded.voided))
        for receipt in folded.voided:
            _refused(receipt)
        rounds = {round_.version: round_ for round_ in (before.round, *folded.rounds)}
        for commit in folded.commits:
            self._closed(before, commit, rounds[commit.version - 1], change)
        for round_ in folded.rounds:
            self._round(round_, after)
        self._begin(before, after, change.now)
        self._stands(after)

    def _decided(self, before: Head, receipts: Sequence[Receipt], now: float) -> None:
        """Receipts of one transaction; one that is not the first of its update is a duplicate's."""
        outcomes: Counter[str] = Counter()
        first: dict[tuple[str, int], Receipt] = {}
        for receipt in receipts:
            update = (receipt.client, receipt.base)
            if update in first or before.inbox.get(receipt.base, {}).get(receipt.client) == receipt:
                outcomes["duplicate"] += 1
                continue
            first[update] = receipt
            outcomes[receipt.outcome] += 1
            if not receipt.weight:
                _refused(receipt)
        self._metrics.updates.decided(outcomes)
        self._counted([receipt for receipt in first.values() if receipt.weight], now)

    def _counted(self, receipts: Sequence[Receipt], now: float) -> None:
        opened = [self._opened[receipt.base] for receipt in receipts if receipt.base in self._opened]
        self._metrics.updates.counted(
            staleness=[receipt.staleness for receipt in receipts],
            weights=[receipt.weight for receipt in receipts],
            seconds=[max(0.0, now - at) for at in opened],
        )
        for receipt in receipts:
            self._costs.counted(receipt)

    def _closed(self, before: Head, commit: Commit, closing: Round, change: Transacted) -> None:
        """A version was made: a round has closed, or an operator made it."""
        self._metrics.rounds.committed(commit.kind)
        self._committed[commit.version] = self._clock()
        version = commit.version - 1
        opened = self._opened.get(version)
        self._opened.setdefault(commit.version, commit.closed_at)
        seconds = None if opened is None else commit.closed_at - opened
        for client in commit.quarantined:
            logs.warning("client quarantined", client=client, version=commit.version)
        if commit.kind in ("round", "measured"):
            self._metrics.rounds.closed(members=len(commit.members), seconds=seconds)
            self._parts(before, version, seconds, change)
            sizes = self._costs.of_round(closing, commit.members)
            if sizes:
                self._metrics.rounds.cost(sizes)
            logs.info(
                "round closed",
                version=version,
                members=len(commit.members),
                staleness=max(member.staleness for member in commit.members),
                seconds=seconds,
                bytes=sum(sizes),
            )
        else:
            logs.warning("round voided", version=version, members=len(commit.members))
        self._begun = None

    def _parts(self, before: Head, version: int, seconds: float | None, change: Transacted) -> None:
        """The parts of a round that this change ends; its first update is unknown where somebody else folded it."""
        self._metrics.rounds.part("commit", change.seconds)
        if seconds is None:
            return
        if self._begun and self._begun[0] == version:
            self._metrics.rounds.part("goal", max(0.0, change.now - self._begun[1]))
        elif version != before.version or not before.pending.members:
            self._metrics.rounds.part("first_update", seconds)
            self._metrics.rounds.part("goal", 0.0)

    def _begin(self, before: Head, after: Head, now: float) -> None:
        """The open round may have its first update."""
        nothing = after.version != before.version or not before.pending.members
        if nothing and after.pending.members:
            self._begun = (after.version, now)
            if after.version in self._opened:
                self._metrics.rounds.part("first_update", max(0.0, now - self._opened[after.version]))

    def _round(self, round_: Round, after: Head) -> None:
        """A round is to be announced: a new one, another attempt, or the last word."""
        fields = {"version": round_.version, "attempt": round_.attempt}
        if round_.last:
            logs.info("training is over", **fields)
        else:
            policy = after.policy.rounds
            logs.info("round opened", **fields, cohort=policy.cohort, minimum=policy.minimum, deadline=round_.deadline)
            if round_.attempt:
                self._metrics.rounds.extended()

    def _recalled(self, commits: Sequence[Commit]) -> None:
        """Operators roll back, aggregators announce it."""
        for commit in commits:
            if commit.kind == "rollback" and commit.version > self._rolled_back:
                self._rolled_back = commit.version
                self._metrics.rounds.committed(commit.kind)
                logs.warning("rolled back", version=commit.version)

    def _announced(self, version: int) -> None:
        """Announcements are confirmed, up to a version."""
        logs.info("round announced", version=version)
        for made in sorted(made for made in self._committed if made <= version):
            self._metrics.rounds.part("announce", self._clock() - self._committed.pop(made))

    def _stands(self, head: Head) -> None:
        round_, policy = head.round, head.policy.rounds
        if head.version not in self._opened:
            self._opened |= self._made(head)
        self._opened = {version: at for version, at in self._opened.items() if version in head.window}
        self._costs.keep(head.pending.members)
        self._metrics.standing.stands(
            version=head.version, announced=head.announced[0] if head.announced else -1, state=head.state
        )
        self._metrics.standing.round(
            attempt=round_.attempt,
            members=len(head.pending.members),
            cohort=policy.cohort,
            minimum=policy.minimum,
            opened=round_.opened,
            deadline=round_.deadline,
        )
        known = head.robust
        self._metrics.standing.robust(
            quarantined=len(known.quarantined) if known else 0,
            suspicion=max(known.suspicion.values(), default=0) / PAIR if known else 0.0,
        )
        if self._stood != head.version:
            self._stood = head.version
            if head.version in self._opened:
                self._metrics.standing.committed(self._opened[head.version])
            spread = importance.spread(round_.importance, head.size)
            self._metrics.standing.importance(entropy=spread.entropy, ratio=spread.ratio, top=spread.top)
        if head.evaluations and self._scored != (newest := max(head.evaluations)):
            self._scored = newest
            self._metrics.scores.scored(newest, head.evaluations[newest])

    def _made(self, head: Head) -> dict[int, float]:
        """When the newest version was made: with its first attempt, else as the log has it; version 0 is not in there."""
        if head.round.attempt == 0:
            return {head.version: head.round.opened}
        return {commit.version: commit.closed_at for commit in self._log(head.version - 1)} if head.version else {}


def _refused(receipt: Receipt) -> None:
    logs.info("update refused", client=receipt.client, version=receipt.base, outcome=receipt.outcome, reason=receipt.reason)
