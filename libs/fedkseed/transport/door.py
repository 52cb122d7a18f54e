"""The door of every service: messages are read once, when they come in, and written once, when they leave.

What a participant sends is refused unless its kind and the name inside are those that the broker routed by: permissions on
routing keys are permissions on kinds and names. Where participants are users of their own, it must be signed by the one it
names.
"""

from collections.abc import Collection
from dataclasses import dataclass

from fedkseed.codec import decode, encode
from fedkseed.errors import DecodeError
from fedkseed.messages import Evaluation, Message, SnapshotRequest, Update
from fedkseed.transport.broker import Delivery, Envelope
from fedkseed.transport.topology import Address

KINDS = ("update", "snapshot", "evaluation")  # of what participants send
REASON, ORIGIN = "reason", "origin"  # the headers of a dead letter


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message and where it goes; bytes go as they are."""

    to: Address
    content: Message | bytes
    reason: str = ""  # why it is a dead letter
    origin: str = ""  # with what routing key it came, before it was one


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Effect: hand letters to the broker, in order; answered by Confirmed or Unconfirmed with the token."""

    token: int
    letters: tuple[Letter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """Effect: these deliveries are dealt with."""

    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """Event: a delivery is no message that belongs into its queue."""

    delivery: Delivery
    reason: str


def seal(letter: Letter) -> Envelope:
    """Write a letter as bytes."""
    body = letter.content if isinstance(letter.content, bytes) else encode(letter.content)
    headers = {REASON: letter.reason, ORIGIN: letter.origin}
    return Envelope(to=letter.to, body=body, headers={name: value for name, value in headers.items() if value})


def unseal(delivery: Delivery, trusted: Collection[str] | None = None) -> Message:
    """Read a delivery.

    Args:
        delivery: of anybody.
        trusted: users who may sign for participants, beside these themselves; None where nobody needs to sign.

    Raises:
        DecodeError: it is no message, or not one that its routing key and its signature allow.
    """
    message = decode(delivery.body)
    kind, _, sender = delivery.key.partition(".")
    match message:
        case Update(client=client):
            allowed = (kind, sender) == ("update", client)
        case SnapshotRequest(client=client):
            allowed = (kind, sender) == ("snapshot", client)
        case Evaluation(client=client):
            allowed = (kind, sender) == ("evaluation", client)
        case _:
            allowed = True
    if not allowed:
        raise DecodeError(f"{type(message).__name__} with routing key {delivery.key}")
    if trusted is not None and kind in KINDS and delivery.user not in (sender, *trusted):
        raise DecodeError(f"{type(message).__name__} with routing key {delivery.key}, signed by {delivery.user or 'nobody'}")
    return message


def misplaced(delivery: Delivery, message: Message) -> Undecodable:
    """What a message is that nobody sends to this service."""
    return Undecodable(delivery=delivery, reason=f"{type(message).__name__} in queue {delivery.queue}")
