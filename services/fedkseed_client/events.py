"""What a client can be told: what came from the broker, and what became of its effects."""

from dataclasses import dataclass

from fedkseed.messages import Receipt
from fedkseed.replica import MailArrived, Woke
from fedkseed.transport.broker import Confirmed, Unconfirmed
from fedkseed.transport.door import Undecodable


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The process has begun, perhaps not for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptArrived:
    """What became of an update."""

    tag: int
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Training is done; what it measured, as it travels."""

    base: int
    k: bytes  # u16 LE each: seed indices
    g: bytes  # f16 LE each: projected gradients
    loss: float  # mean over the evaluations
    seconds: float
    skipped: int  # steps without a usable scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The trainer will not take this round: nothing is measured, and the next invitation is a new question."""

    base: int
    attempt: int


Event = Started | MailArrived | ReceiptArrived | Undecodable | Trained | Declined | Confirmed | Unconfirmed | Woke
