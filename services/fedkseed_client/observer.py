"""What a client does, as metrics and lines of the log: derived from its events and effects."""

from collections.abc import Callable

from fedkseed import logs
from fedkseed.following import Following
from fedkseed.messages import Receipt, Update
from fedkseed.metrics.services import ClientMetrics
from fedkseed.traffic import Traffic
from fedkseed.transport.broker import Confirmed
from fedkseed.transport.door import Publish, Undecodable
from fedkseed_client.events import Declined, Event, ReceiptArrived, Trained
from fedkseed_client.machine import Abandon, Effect, End, State, Train

AWAITED = 1024  # receipts that may be awaited; those of the oldest updates will not come


class Observer:
    """Sees every event and effect of one client, on the thread that decides.

    Args:
        metrics: of the client.
        traffic: of its connection.
        state: as the client is when it starts.
        clock: seconds that only grow.
    """

    def __init__(self, metrics: ClientMetrics, traffic: Traffic, state: State, clock: Callable[[], float]) -> None:
        self._metrics, self._traffic, self._clock = metrics, traffic, clock
        self._following = Following(metrics.following, state.replica)
        self._training: int | None = None  # the version that is being trained on
        self._published: dict[int, float] = {}  # updates without a receipt: when they were published first, by base
        self.missing = self._following.missing

    def see(self, happening: Event | Effect, state: State) -> None:
        """See an event or an effect, and the state when it happens."""
        self._following(happening, state.replica)
        match happening:
            case Train(assignment=assignment):
                self._training = assignment.base
                self._metrics.training.began()
                round_ = assignment.round
                logs.info("training begun", version=round_.version, attempt=round_.attempt, steps=round_.steps)
            case Trained() if happening.base == self._training:
                self._trained(happening)
            case Declined(base=base, attempt=attempt) if base == self._training:
                self._training = None
                self._metrics.training.declined()
                logs.info("training declined", version=base, attempt=attempt)
            case Abandon(base=base):
                self._training = None
                self._metrics.training.abandoned()
                logs.info("training abandoned", version=base)
            case Publish(letters=letters):
                for letter in letters:
                    if isinstance(letter.content, Update):
                        self._publish(letter.content.base)
            case Confirmed(token=token) if any(update.base == token for update in state.outbox):
                logs.info("update confirmed", version=token)
            case ReceiptArrived(receipt=receipt):
                self._receipt(receipt)
            case Undecodable():
                self._traffic.unreadable(happening)
            case End():
                logs.info("training is over")
            case _:
                pass

    def _trained(self, trained: Trained) -> None:
        self._training = None
        steps = len(trained.k) // 2 + trained.skipped
        self._metrics.training.trained(steps=steps, skipped=trained.skipped, seconds=trained.seconds, loss=trained.loss)
        logs.info("training ended", version=trained.base, loss=trained.loss, seconds=trained.seconds, skipped=trained.skipped)

    def _publish(self, base: int) -> None:
        self._published.setdefault(base, self._clock())
        if len(self._published) > AWAITED:
            self._published.pop(min(self._published))

    def _receipt(self, receipt: Receipt) -> None:
        published = self._published.pop(receipt.base, None)
        seconds = None if published is None else self._clock() - published
        self._metrics.training.receipt(receipt.outcome, seconds)
        said = {"outcome": receipt.outcome, "weight": receipt.weight, "staleness": receipt.staleness}
        why = {"reason": receipt.reason} if receipt.reason else {}
        logs.info("receipt", version=receipt.base, **said, **why)
        if receipt.outcome == "quarantined":
            self._metrics.training.quarantined()
            logs.warning("training stopped", version=receipt.base, reason=receipt.reason)
