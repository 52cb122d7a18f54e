"""The client's edge: deliveries become events, effects become calls of the broker, the trainer and the disk."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from fedkseed.errors import DecodeError
from fedkseed.messages import Receipt, Round, Snapshot
from fedkseed.replica import Fail, MailArrived, Wake, Woke
from fedkseed.transport.broker import Broker, Delivery, Notice
from fedkseed.transport.door import Acknowledge, Publish, Undecodable, misplaced, seal, unseal
from fedkseed.transport.topology import mailbox_queue, receipts_queue
from fedkseed_client.events import Event, ReceiptArrived
from fedkseed_client.machine import Abandon, Assignment, Effect, End, Note, Save, State, Train


class Trainer(Protocol):
    """Trains beside the loop; has Trained or Declined fed when it is done."""

    def begin(self, assignment: Assignment) -> None:
        """Start to train; nothing else is being trained."""
        ...

    def abandon(self) -> None:
        """Stop: what is being trained is of no use any more."""
        ...


def queues(federation: str, client: str) -> tuple[str, ...]:
    """What a client consumes."""
    return mailbox_queue(federation, client), receipts_queue(federation, client)


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
        case Receipt():
            return ReceiptArrived(tag=notice.tag, receipt=message)
        case _:
            return misplaced(notice, message)


class Shell:
    """Carries out effects.

    Args:
        broker: a started connection.
        trainer: see Trainer.
        save: keeps a state, durably and whole.
        note: writes a receipt down.
        wake: has an event fed after so many seconds.
        end: called once training is over.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        trainer: Trainer,
        save: Callable[[State], None],
        note: Callable[[Receipt], None],
        wake: Callable[[float, Woke], object],
        end: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._trainer = trainer
        self._save = save
        self._note = note
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
            case Save(state=state):
                self._save(state)
            case Note(receipt=receipt):
                self._note(receipt)
            case Train(assignment=assignment):
                self._trainer.begin(assignment)
            case Abandon():
                self._trainer.abandon()
            case Fail(error=error):
                raise error
            case End():
                self._end()
        return ()
