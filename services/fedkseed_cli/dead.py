"""Subcommands on the dead letters of a federation: show them, and send them where they came from once more.

- A letter has a number: its place in the queue, from 1, the oldest first.
- Requeuing publishes first and acknowledges what is confirmed: a crash in between leaves a letter in both places, and an
  update that comes twice counts once.
- Nothing is declared here: where there is no such queue, there is nothing to operate on.
"""

import json
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import click

from fedkseed import settings
from fedkseed.codec import decode, kind
from fedkseed.errors import BrokerError, DecodeError
from fedkseed.messages import Message, Update
from fedkseed.settings import DeadLetterSettings
from fedkseed.transport.broker import Broker, Confirmed, Delivery, Envelope, Notice, Unconfirmed
from fedkseed.transport.condition import Condition, Disconnected
from fedkseed.transport.door import ORIGIN, REASON, Undecodable
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import NOTHING, dead_queue, to_origin
from fedkseed_aggregator import shell as aggregator_shell
from fedkseed_cli.target import FEDERATION, SAFER

AMQP = click.option(
    "--amqp-url",
    metavar="URL",
    help=f"RabbitMQ; without it, {SAFER.format('AMQP')}.",
)
PATIENCE_SECONDS = 30.0  # for letters that were there a moment ago


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter, and what can be said about it."""

    number: int
    delivery: Delivery
    origin: str  # the routing key it was published with; empty where that is not known
    message: Message | None  # None: it cannot be read
    doomed: str  # why it would die again; empty where it may live

    @property
    def reason(self) -> str:
        """Why it died."""
        return self.delivery.headers.get(REASON, "")


@click.group()
def dead() -> None:
    """Show the dead letters, or send them again.

    Those are letters that the aggregator could not read, and letters that RabbitMQ gave up after too many deliveries.
    """


@dead.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@FEDERATION
@AMQP
def list_(federation: str | None, amqp_url: str | None, as_json: bool) -> None:
    """Show every dead letter, one line each, and leave it where it is.

    Its number, where it came from, what it is, its size, and why it died.
    """
    where = located(federation, amqp_url)
    with connected(where) as broker:
        for letter in read(broker.look(dead_queue(where.federation))):
            click.echo(json.dumps(record(letter)) if as_json else line(letter))


@dead.command()
@click.argument("numbers", nargs=-1, type=click.IntRange(1), metavar="[NUMBER]...")
@click.option("--all", "every", is_flag=True, help="Every letter that would not die again at once.")
@FEDERATION
@AMQP
def requeue(federation: str | None, amqp_url: str | None, numbers: tuple[int, ...], every: bool) -> None:
    """Send dead letters again to where they came from.

    Which ones is said by number, as `fedkseed dead list` shows them, or with --all. What RabbitMQ does not confirm stays.
    """
    if bool(numbers) == every:
        raise click.UsageError("name letters by number, or all of them with --all")
    where = located(federation, amqp_url)
    with connected(where) as broker:
        letters = read(broker.look(dead_queue(where.federation)))
    for letter in letters if every else ():
        if letter.doomed:
            click.echo(f"{letter.number}  stays, it would die again: {printable(letter.doomed)}")
    if chosen := [letter for letter in letters if not letter.doomed] if every else named(letters, numbers):
        with connected(where, prefetch=len(letters)) as broker:
            publish_again(broker, where.federation, letters, chosen)


def located(federation: str | None, amqp_url: str | None) -> DeadLetterSettings:
    """Say where the letters are: what was given, and the environment for the rest.

    Raises:
        SettingError: the first setting that is missing or wrong, by the name of its variable.
    """
    return settings.read(DeadLetterSettings, os.environ, federation=federation, amqp_url=amqp_url)


@contextmanager
def connected(where: DeadLetterSettings, prefetch: int = 1) -> Iterator[Broker]:
    """A connection that says on standard error when it has to wait for the broker."""
    server = Server(str(where.amqp_url), "fedkseed dead", where.tls)
    with closing(RabbitBroker(server, dice=Random(), observe=_say, prefetch=prefetch)) as broker:  # noqa: S311 - pauses are no secret
        yield broker


def read(deliveries: Sequence[Delivery]) -> tuple[DeadLetter, ...]:
    """Make out what dead letters are, and what an aggregator would do with them."""
    return tuple(_read(number, delivery) for number, delivery in enumerate(deliveries, 1))


def named(letters: Sequence[DeadLetter], numbers: Sequence[int]) -> list[DeadLetter]:
    """Find letters by number, in the order of the queue.

    Raises:
        BrokerError: one is not there, or nobody knows where it came from.
    """
    if max(numbers) > len(letters):
        raise BrokerError(f"there is no letter {max(numbers)}: {len(letters)} can be requeued by number")
    chosen = [letters[number - 1] for number in sorted(set(numbers))]
    for letter in chosen:
        if not letter.origin:
            raise BrokerError(f"letter {letter.number} cannot be requeued: {letter.doomed}")
    return chosen


def publish_again(broker: Broker, federation: str, letters: Sequence[DeadLetter], chosen: Sequence[DeadLetter]) -> None:
    """Take all letters out of the queue and publish the chosen ones again; the others go back, in their order.

    Raises:
        BrokerError: the queue is another one than was looked at, and nothing was done; or some letters were not confirmed.
    """
    inbox: queue.SimpleQueue[Notice] = queue.SimpleQueue()
    broker.start(NOTHING, (dead_queue(federation),), inbox.put)
    tags = [_same(letter, inbox).tag for letter in letters]
    left = 0
    for letter in chosen:
        broker.publish(letter.number, (again(federation, letter),))
        if _confirmed(letter.number, inbox):
            broker.acknowledge((tags[letter.number - 1],))
            click.echo(f"{letter.number}  requeued as {printable(letter.origin)}")
        else:
            left += 1
            click.echo(f"{letter.number}  stays, it was not confirmed")
    if left:
        raise BrokerError(f"{left} of {len(chosen)} letters were not confirmed and stay among the dead")


def again(federation: str, letter: DeadLetter) -> Envelope:
    """A dead letter as its sender published it."""
    headers = {name: value for name, value in letter.delivery.headers.items() if name not in (REASON, ORIGIN)}
    return Envelope(to=to_origin(federation, letter.origin), body=letter.delivery.body, headers=headers)


def record(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON holds it."""
    return {
        "number": letter.number,
        "origin": letter.origin or None,
        "type": letter.message and kind(letter.message),
        "client": getattr(letter.message, "client", None),
        "base": letter.message.base if isinstance(letter.message, Update) else None,
        "bytes": len(letter.delivery.body),
        "reason": letter.reason,
        "doomed": bool(letter.doomed),
    }


def line(letter: DeadLetter) -> str:
    """A dead letter as people read it."""
    told = record(letter)
    of, on = told["client"], told["base"]
    what = (told["type"] or "unreadable") + (f" of {of}" if of else "") + (f" on version {on}" if on is not None else "")
    parts = (str(letter.number), letter.origin or "of unknown origin", what, f"{told['bytes']} bytes", letter.reason)
    return "  ".join(printable(part) for part in parts if part)


def printable(words: str) -> str:
    """The same without what a terminal would obey: whoever sent a letter has chosen some of its words."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in words)


def _read(number: int, delivery: Delivery) -> DeadLetter:
    key = delivery.headers.get(ORIGIN, "")
    origin = "" if "\ufffd" in key else key  # a key that was not text is not known any more
    (event,) = aggregator_shell.events((replace(delivery, key=key),))
    doomed = event.reason if isinstance(event, Undecodable) else ""
    return DeadLetter(
        number=number,
        delivery=delivery,
        origin=origin,
        message=_message(delivery.body),
        doomed=doomed if origin else "it is not known where it came from",
    )


def _message(body: bytes) -> Message | None:
    try:
        return decode(body)
    except DecodeError:
        return None


def _same(letter: DeadLetter, inbox: "queue.SimpleQueue[Notice]") -> Delivery:
    """The next delivery, which must be the letter that was looked at."""
    delivery = _next(inbox, PATIENCE_SECONDS, lambda notice: isinstance(notice, Delivery))
    if not isinstance(delivery, Delivery) or delivery.body != letter.delivery.body:
        raise BrokerError("the dead letters have changed meanwhile, nothing was requeued: list them again")
    return delivery


def _confirmed(number: int, inbox: "queue.SimpleQueue[Notice]") -> bool:
    answers = (Confirmed(token=number), Unconfirmed(token=number))
    return _next(inbox, None, lambda notice: notice in answers) == Confirmed(token=number)


def _next(inbox: "queue.SimpleQueue[Notice]", seconds: float | None, wanted: Callable[[Notice], bool]) -> Notice | None:
    """The next notice of a kind; None when nothing at all was said for so long."""
    try:
        while not wanted(notice := inbox.get(timeout=seconds)):
            pass
    except queue.Empty:
        return None
    return notice


def _say(condition: Condition) -> None:
    if isinstance(condition, Disconnected):
        click.echo(f"RabbitMQ: {condition.reason}; trying again in {condition.again_seconds:.1f} s", err=True)
