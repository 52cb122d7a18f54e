"""Who may do what at RabbitMQ: each attempt, and who succeeds. docs/security.md shows the same table."""

from collections.abc import Callable, Mapping
from typing import Any

from pika import BasicProperties

from fedkseed.transport.topology import (
    Address,
    archive,
    archive_stream,
    dead_queue,
    last_queue,
    mailbox_queue,
    receipts_queue,
    shared,
    to_aggregator,
    to_all,
    to_client,
    to_dead,
    to_mailbox,
    updates_queue,
)

F, OTHER = "f", "other"  # federations
ANOTHER = "bob"  # a client that is none of those who try
EVERYBODY = ("client", "evaluator", "monitor", "aggregator", "operator")
PARTICIPANTS, STAFF = ("client", "evaluator"), ("aggregator", "operator")

Attempt = Callable[[Any, str], object]  # with a channel, as a user


def publish(to: Callable[[str], Address], *, signed: Callable[[str], str] = lambda name: name) -> Attempt:
    """Publish as somebody."""

    def attempt(channel: Any, name: str) -> None:
        channel.confirm_delivery()
        address = to(name)
        channel.basic_publish(address.exchange, address.key, b"letter", BasicProperties(user_id=signed(name)))

    return attempt


def read(queue: Callable[[str], str]) -> Attempt:
    return lambda channel, name: channel.basic_get(queue(name))


def bind(queue: Callable[[str], str], to: Callable[[str], Address]) -> Attempt:
    return lambda channel, name: channel.queue_bind(queue(name), to(name).exchange, to(name).key)


def read_archive(channel: Any, _: str) -> object:
    """Read what will come: a letter that was delivered could not be given back to a stream when the channel is closed."""
    channel.basic_qos(prefetch_count=1)
    return channel.basic_consume(archive_stream(F), lambda *_: None, arguments={"x-stream-offset": "next"})


def declare(name: str) -> Attempt:
    """Declare a queue as it is."""
    queue = next(queue for queue in (shared(F) | archive(F)).queues if queue.name == name)
    return lambda channel, _: channel.queue_declare(name, durable=True, arguments=dict(queue.arguments))


MATRIX: Mapping[str, tuple[Attempt, tuple[str, ...]]] = {
    "send an update in its own name": (publish(lambda name: to_aggregator(F, "update", name)), ("client", *STAFF)),
    "send scores in its own name": (publish(lambda name: to_aggregator(F, "evaluation", name)), ("evaluator", *STAFF)),
    "ask for a snapshot in its own name": (
        publish(lambda name: to_aggregator(F, "snapshot", name)),
        (*PARTICIPANTS, *STAFF),
    ),
    "send an update in the name of another": (publish(lambda _: to_aggregator(F, "update", ANOTHER)), STAFF),
    "sign as another": (
        publish(lambda name: to_aggregator(F, "snapshot", name), signed=lambda _: ANOTHER),
        (),
    ),
    "announce a round": (publish(lambda _: to_all(F)), STAFF),
    "send a receipt": (publish(lambda _: to_client(F, ANOTHER)), STAFF),
    "write a dead letter": (publish(lambda _: to_dead(F)), STAFF),
    "write to a mailbox through the default exchange": (publish(lambda name: to_mailbox(F, name)), STAFF),
    "read its own mailbox": (read(lambda name: mailbox_queue(F, name)), (*PARTICIPANTS, *STAFF)),
    "read its own receipts": (read(lambda name: receipts_queue(F, name)), (*PARTICIPANTS, *STAFF)),
    "read the mailbox of another": (read(lambda _: mailbox_queue(F, ANOTHER)), STAFF),
    "read the receipts of another": (read(lambda _: receipts_queue(F, ANOTHER)), STAFF),
    "read `updates`": (read(lambda _: updates_queue(F)), STAFF),
    "read `dead`": (read(lambda _: dead_queue(F)), STAFF),
    "read `last`": (read(lambda _: last_queue(F)), STAFF),
    "have the receipts of another sent to itself": (
        bind(lambda name: receipts_queue(F, name), lambda _: to_client(F, ANOTHER)),
        STAFF,
    ),
    "have updates sent to itself": (
        bind(lambda name: mailbox_queue(F, name), lambda _: to_aggregator(F, "update", ANOTHER)),
        STAFF,
    ),
    "declare or remove `updates`": (declare(updates_queue(F)), STAFF),
    "read `archive`": (read_archive, STAFF),
    "write to `archive` through the default exchange": (
        publish(lambda _: Address(exchange="", key=archive_stream(F))),
        STAFF,
    ),
    "have announcements put into `archive`": (bind(lambda _: archive_stream(F), lambda _: to_all(F)), STAFF),
    "declare or remove `archive`": (declare(archive_stream(F)), STAFF),
    "declare a queue of another name": (
        lambda channel, name: channel.queue_declare(f"more.{name}", exclusive=True),
        ("operator",),
    ),
    "send an update to another federation": (publish(lambda name: to_aggregator(OTHER, "update", name)), ("operator",)),
    "read `updates` of another federation": (read(lambda _: updates_queue(OTHER)), ("operator",)),
    "see how many letters wait in `updates`": (
        lambda channel, _: channel.queue_declare(updates_queue(F), passive=True),
        EVERYBODY,
    ),
}


def rows() -> list[list[str]]:
    """The matrix as the page has it."""
    return [[attempt, *("yes" if who in may else "no" for who in EVERYBODY)] for attempt, (_, may) in MATRIX.items()]
