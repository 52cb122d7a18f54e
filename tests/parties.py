"""Parties at a message broker, whatever is behind it: they keep what they are told, and tests wait for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Condition
from typing import Any

from fedkseed.tls import Tls
from fedkseed.transport import condition
from fedkseed.transport.broker import Broker, Delivery, Envelope, Notice
from fedkseed.transport.line import Server
from fedkseed.transport.pauses import Pauses
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import (
    Address,
    Topology,
    mailbox_queue,
    personal,
    receipts_queue,
    shared,
    to_aggregator,
)

F = "f"
UPDATES = to_aggregator(F, "update", "ann")
BRIEF = Pauses(shortest_seconds=0.01, longest_seconds=0.1)


@dataclass
class Owner:
    """Somebody at a connection."""

    broker: Broker
    notices: list[Notice] = field(default_factory=list)

    @property
    def deliveries(self) -> list[Delivery]:
        return [notice for notice in self.notices if isinstance(notice, Delivery)]

    @property
    def answers(self) -> list[Notice]:
        return [notice for notice in self.notices if not isinstance(notice, Delivery)]

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    def send(self, to: Address, *bodies: bytes, token: int = 0, headers: dict[str, str] | None = None) -> None:
        self.broker.publish(token, [Envelope(to=to, body=body, headers=headers or {}) for body in bodies])


@dataclass
class Place:
    """Where parties meet: a way to a broker, and how long to wait for what is sure to happen."""

    connect: Callable[[], Broker]
    patience_seconds: float
    changed: Condition = field(default_factory=Condition)
    brokers: list[Broker] = field(default_factory=list)

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds, which only what parties are told can change."""
        with self.changed:
            assert self.changed.wait_for(condition, self.patience_seconds)

    def hear(self, told: list[Any]) -> Callable[[Any], None]:
        """Have it kept in a list, and waiting conditions looked at again."""

        def keep(what: Any) -> None:
            with self.changed:
                told.append(what)
                self.changed.notify_all()

        return keep

    def somebody(self, topology: Topology, *queues: str) -> Owner:
        owner = Owner(self.connect())
        self.brokers.append(owner.broker)
        owner.broker.start(topology, queues, self.hear(owner.notices))
        return owner

    def aggregator(self, *queues: str) -> Owner:
        return self.somebody(shared(F), *queues)

    def participant(self, name: str) -> Owner:
        return self.somebody(shared(F) | personal(F, name), mailbox_queue(F, name), receipts_queue(F, name))

    def close(self) -> None:
        for broker in self.brokers:
            broker.close()


@dataclass
class RealPlace(Place):
    """A virtual host of RabbitMQ; all parties tell it what becomes of their connections."""

    conditions: list[condition.Condition] = field(default_factory=list)

    def saw(self, kind: type, *, times: int = 1) -> bool:
        return sum(isinstance(seen, kind) for seen in self.conditions) >= times

    def lines_up(self, times: int) -> None:
        """Wait until so many lines have come up since the beginning."""
        self.until(lambda: self.saw(condition.Connected, times=times))


def at(url: str, tls: Tls | None = None, **options: Any) -> RealPlace:
    """A place at a URL; the options are those of RabbitBroker."""

    def connect() -> Broker:
        return RabbitBroker(
            Server(url, "test", tls), dice=Random(0), observe=place.hear(place.conditions), pauses=BRIEF, **options
        )

    place = RealPlace(connect=connect, patience_seconds=60.0)
    return place
