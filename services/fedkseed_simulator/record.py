"""The record of a simulation: watches the aggregator's events and the network's letters, and states facts.

It only watches: nothing in a simulation depends on it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable

from fedkseed.codec import decode
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.fold import Folded
from fedkseed.messages import Evaluation, Message, Receipt, Round, Snapshot, SnapshotRequest, Update
from fedkseed_aggregator.effects import Effect
from fedkseed_aggregator.events import Changed, Closed, EvaluationArrived, Event, UpdatesArrived
from fedkseed_simulator.clock import VirtualClock
from fedkseed_simulator.facts import Fact, Flow, RoundClosed, RoundExtended, Scored, TrainingOver, UpdateDecided
from fedkseed_simulator.network import Direction

KINDS: dict[type[Message], str] = {
    Round: "round",
    Update: "update",
    Receipt: "receipt",
    SnapshotRequest: "request",
    Snapshot: "snapshot",
    Evaluation: "evaluation",
}
Identity = tuple[str, int]  # client, base


class Record:
    """Everything worth telling about a simulation.

    Args:
        clock: virtual time.
        observe: is told every fact when it happens.
    """

    def __init__(self, clock: VirtualClock, observe: Callable[[Fact], None]) -> None:
        self._clock = clock
        self._observe = observe
        self._opened = clock.now  # when the open round opened
        self._version = 0
        self._measured: dict[Identity, tuple[float, float]] = {}  # loss, seconds of training
        self._evaluations: dict[int, Evaluation] = {}  # by tag
        self._flows: defaultdict[tuple[str, int, Direction, str], Counter[str]] = defaultdict(Counter)
        self.receipts: dict[Identity, Receipt] = {}
        self.repeated = 0
        self.rounds: list[RoundClosed] = []
        self.scores: dict[int, Scored] = {}
        self.over: TrainingOver | None = None

    def watch(self, happening: Event | Effect) -> None:
        """See an event or effect of the aggregator."""
        match happening:
            case UpdatesArrived(arrivals=arrivals):
                for update in (arrival.message for arrival in arrivals):
                    self._measured[update.client, update.base] = update.loss, update.seconds
            case EvaluationArrived(arrival=arrival):
                self._evaluations[arrival.tag] = arrival.message
            case Changed(folded=folded, tags=tags):
                self._score(folded, tags)
                self._change(folded)
            case Closed(folded=folded):
                self._change(folded)

    def meter(self, participant: str, direction: Direction, body: bytes) -> None:
        """See a letter that a participant sends or receives."""
        kind = KINDS[type(decode(body))]
        self._flows[participant, self._version, direction, kind].update(messages=1, size=len(body))

    def state(self, fact: Fact) -> None:
        """Tell a fact."""
        self._observe(fact)

    @property
    def flows(self) -> tuple[Flow, ...]:
        """All traffic so far."""
        return tuple(
            Flow(participant=who, version=version, direction=direction, kind=kind, messages=sums["messages"], size=sums["size"])
            for (who, version, direction, kind), sums in sorted(self._flows.items())
        )

    def _change(self, folded: Folded) -> None:
        for receipt in (*folded.receipts, *folded.voided):
            self._decide(receipt)
        for commit in folded.commits:
            self._close(commit)
        for round_ in folded.rounds:
            self._announce(round_)

    def _decide(self, receipt: Receipt) -> None:
        identity = (receipt.client, receipt.base)
        if self.receipts.get(identity) == receipt:
            self.repeated += 1
            return
        self.receipts[identity] = receipt
        loss, seconds = self._measured[identity]
        self.state(UpdateDecided(at_seconds=self._clock.now, receipt=receipt, loss=loss, training_seconds=seconds))

    def _close(self, commit: Commit) -> None:
        size = sum(flow.size for flow in self.flows if flow.version == self._version)
        opened, self._opened, self._version = self._opened, commit.closed_at, commit.version
        closed = RoundClosed(
            opened_seconds=opened, closed_seconds=commit.closed_at, commit=commit, loss=self._mean_loss(commit), size=size
        )
        self.rounds.append(closed)
        self.state(closed)

    def _mean_loss(self, commit: Commit) -> float:
        known = [(m.omega, self._measured[m.client, m.base][0]) for m in commit.members]
        finite = [(omega, loss) for omega, loss in known if math.isfinite(loss)]
        weight = sum(omega for omega, _ in finite)
        return sum(omega * loss for omega, loss in finite) / weight if weight else math.nan

    def _announce(self, round_: Round) -> None:
        now = self._clock.now
        if round_.last:
            self.over = TrainingOver(at_seconds=now, version=round_.version)
            self.state(self.over)
        elif round_.attempt:
            self.state(RoundExtended(at_seconds=now, version=round_.version, attempt=round_.attempt))

    def _score(self, folded: Folded, tags: tuple[int, ...]) -> None:
        for evaluation in [self._evaluations.pop(tag) for tag in tags if tag in self._evaluations]:
            if folded.reason or evaluation.version in self.scores:
                continue
            scored = Scored(
                at_seconds=self._clock.now,
                version=evaluation.version,
                metrics=evaluation.metrics,
                examples=evaluation.examples,
            )
            self.scores[evaluation.version] = scored
            self.state(scored)
