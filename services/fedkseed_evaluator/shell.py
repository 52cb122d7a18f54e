"""The evaluator's edge: deliveries become events, effects become calls of the broker and the scorer."""

from collections.abc import Callable, Iterable, Sequence

from fedkseed.errors import DecodeError
from fedkseed.messages import Round, Snapshot
from fedkseed.replica import Fail, MailArrived, Wake, Woke
from fedkseed.transport.broker import Broker, Delivery, Notice
from fedkseed.transport.door import Acknowledge, Publish, Undecodable, misplaced, seal, unseal
from fedkseed.transport.topology import mailbox_queue
from fedkseed_evaluator.machine import Effect, End, Evaluate, Event


def queues(federation: str, name: str) -> tuple[str, ...]:
    """What an evaluator consumes."""
    return (mailbox_queue(federation, name),)


def events(notices: Sequence[Notice]) -> tuple[Event, ...]:
    """Read what a broker said."""
    return tuple(map(_event, notices))


def _event(notice: Notice) -> Event:
    if not isinstance(notice, Delivery):
        return notice
    try:
        message = unseal(notice)
    except DecodeError as error:
        return Undecodable(delivery=notice, reason=str(error))
    match message:
        case Round() | Snapshot():
            return MailArrived(tag=notice.tag, content=message)
        case _:
            return misplaced(notice, message)


class Shell:
    """Carries out effects.

    Args:
        broker: a started connection.
        evaluate: begins to score a version; has Evaluated fed when it is done.
        wake: has an event fed after so many seconds.
        end: called once the last version was scored.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        evaluate: Callable[[Evaluate], object],
        wake: Callable[[float, Woke], object],
        end: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._evaluate = evaluate
        self._wake = wake
        self._end = end

    def carry_out(self, effect: Effect) -> Iterable[Event]:
        """Do one effect; what comes of it is fed later.

        Raises:
            FedkseedError: the machine gave up.
        """
        match effect:
            case Publish(token=token, letters=letters):
                self._broker.publish(token, tuple(map(seal, letters)))
            case Acknowledge(tags=tags):
                self._broker.acknowledge(tags)
            case Wake(after_seconds=after_seconds, alarm=alarm):
                self._wake(after_seconds, Woke(alarm=alarm))
            case Evaluate():
                self._evaluate(effect)
            case Fail(error=error):
                raise error
            case End():
                self._end()
        return ()
