"""Who may do what at RabbitMQ: its permissions for one user of a federation. All that sets up users takes it from here.

Every participant is a user of its own name. Patterns are regular expressions that RabbitMQ looks for in a name. A right on an
exchange is not yet one on a routing key: topics say which keys may be published and bound.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedkseed.transport.topology import personal, to_aggregator, to_all, to_client

Participant = Literal["client", "evaluator"]
Role = Literal["aggregator", "operator", "monitor"]

NONE, ALL = "^$", ".*"
OPERATOR = "operator"  # whose letters are dead letters that are sent again
RESERVED = ("aggregator", OPERATOR, "monitor", "guest")  # names that no participant has
SAYS: Mapping[Participant, str] = {"client": "update", "evaluator": "evaluation"}  # beside requests for snapshots
CONNECTIONS, CHANNELS = 8, 16  # of one participant: two each, lost ones until they are noticed, and a doctor


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Which routing keys of an exchange may be published, and which may be bound."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a user may declare, write to (or bind), and read from (or bind to); without topics, every key of what it may."""

    configure: str
    write: str
    read: str
    topics: tuple[Topic, ...] = ()
    tags: tuple[str, ...] = ()  # what it may do beside messages
    limits: Mapping[str, int] = field(default_factory=dict)


def of_participant(federation: str, kind: Participant, name: str) -> Rights:
    """A client sends updates, an evaluator scores, and both only in their own name; they read their own two queues."""
    own = [re.escape(queue.name) for queue in personal(federation, name).queues]
    sent, announced, answered = (
        to.exchange for to in (to_aggregator(federation, "update", name), to_all(federation), to_client(federation, name))
    )
    return Rights(
        configure=_one_of(*own),
        write=_one_of(re.escape(sent), *own),
        read=_one_of(re.escape(announced), re.escape(answered), *own),
        topics=(
            Topic(exchange=announced, write=NONE, read=f"^{to_all(federation).key}$"),
            Topic(exchange=sent, write=rf"^({SAYS[kind]}|snapshot)\.{re.escape(name)}$", read=NONE),
            Topic(exchange=answered, write=NONE, read=f"^{re.escape(name)}$"),
        ),
        limits={"max-connections": CONNECTIONS, "max-channels": CHANNELS},
    )


def of_role(federation: str, role: Role) -> Rights:
    """The aggregator has all of its federation, the operator administers, the monitor sees how much there is and no letter."""
    everything = rf"^fedkseed\.{re.escape(federation)}\."
    match role:
        case "aggregator":
            return Rights(configure=everything, write=rf"{everything}|^amq\.default$", read=everything)
        case "operator":
            return Rights(configure=ALL, write=ALL, read=ALL, tags=("administrator",))
        case "monitor":
            return Rights(configure=NONE, write=NONE, read=NONE, tags=("monitoring",))


def _one_of(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$"
