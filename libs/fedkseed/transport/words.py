"""What RabbitMQ says with a letter, in our words: nothing else of it goes further into the program.

A letter that the broker gave up itself is told like one that a service put aside, with its reason and its origin.
"""

from collections.abc import Mapping
from typing import Any

from fedkseed.transport.broker import Delivery
from fedkseed.transport.door import ORIGIN, REASON

DEATH, DEATHS = "x-first-death-reason", "x-death"  # the headers by which RabbitMQ says why it gave a letter up, and more


def delivery(tag: int, queue: str, method: Any, properties: Any, body: bytes) -> Delivery:
    """A letter as RabbitMQ hands it out, in our words."""
    return Delivery(
        tag=tag,
        queue=queue,
        key=text(method.routing_key),
        body=body,
        headers=headers(properties.headers),
        redelivered=method.redelivered,
        user=text(properties.user_id or ""),
    )


def headers(table: Mapping[Any, Any] | None) -> Mapping[str, str]:
    """The headers that are text; why the broker gave a letter up and how it had come, in our words; nothing else it adds."""
    if not table:
        return {}
    named = ((key, value) for key, value in table.items() if isinstance(key, str) and isinstance(value, str))
    kept = {key: value for key, value in named if not key.startswith("x-")}
    if DEATH in table:
        kept.setdefault(REASON, str(table[DEATH]))
        kept[ORIGIN] = _origin(table)  # whatever the sender says
    return kept


def _origin(table: Mapping[Any, Any]) -> str:
    """With what routing key a letter came to the queue that gave it up."""
    match table.get(DEATHS):
        case [{"routing-keys": [str() | bytes() as key, *_]}, *_]:
            return text(key)
    return ""


def text(key: str | bytes) -> str:
    """A routing key, which need not be text: whoever publishes it chooses its bytes."""
    return key if isinstance(key, str) else key.decode("utf-8", "replace")
