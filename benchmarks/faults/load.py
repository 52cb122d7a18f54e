"""A load process: many clients in one, who follow rounds and publish made-up updates as fast as they are asked to.

To the broker and the aggregator it is a thousand clients: each name sends at most one update on a version, what was not
confirmed is published again, also after a restart, and now and then an update that was confirmed is published again all
the same, some versions later, as by a client whose confirm was lost. One copy of the ledger is followed for all names,
with the product's own replica, so that every announcement is checked against its digest. Receipts of all clients come to
one queue of this process, because thousands of queues would be a test of something else.

The journal is its outbox: an update stands there before it is published, and a new life reads what is not confirmed.

    python -m benchmarks.faults.load NAME FOLDER CLIENTS RATE SEED
"""

import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.faults.journal import Journal, Record, read
from fedkseed.codec import encode
from fedkseed.errors import FedkseedError
from fedkseed.messages import Receipt, Update
from fedkseed.process import Process
from fedkseed.replica import Fail, MailArrived, Replica, Wake, Woke, begin, receive, remind
from fedkseed.transport.broker import Broker, Confirmed, Envelope, Unconfirmed
from fedkseed.transport.condition import Condition
from fedkseed.transport.door import Publish, Undecodable, seal
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import (
    BACKLOG_LENGTH,
    Address,
    Binding,
    Queue,
    Topology,
    mailbox_queue,
    personal,
    receipts_queue,
    shared,
    to_aggregator,
    to_client,
)
from fedkseed_client import shell
from fedkseed_client.events import ReceiptArrived

TICK_SECONDS = 0.02
BURST = 5  # ticks that are made up for at once, after a pause
REPEATED = 0.02  # of the updates
LATER = 2  # versions until an update is published again
OUTBOX = 600  # unconfirmed updates beyond which none is made
QUIET = "quiet"  # a file in the process's folder: no more updates


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time to publish."""


def topology(federation: str, name: str) -> Topology:
    """The federation's, a mailbox, and one queue for the receipts of everybody."""
    own = personal(federation, name)
    receipts = Queue(name=receipts_queue(federation, name), max_length=BACKLOG_LENGTH)
    binding = Binding(exchange=to_client(federation, name).exchange, queue=receipts.name, pattern="*")
    mailbox = mailbox_queue(federation, name)
    return shared(federation) | Topology(
        exchanges=(),
        queues=(*(queue for queue in own.queues if queue.name == mailbox), receipts),
        bindings=(*(each for each in own.bindings if each.queue == mailbox), binding),
    )


class Load:
    """All clients of one process.

    Args:
        federation: whose clients.
        name: of the process, and the beginning of theirs.
        folder: its journal.
        count: how many clients.
        rate: updates a second.
        seed: of what they measure.
        broker: a connection.
        process: feeds this.
    """

    def __init__(
        self,
        *,
        federation: str,
        name: str,
        folder: Path,
        count: int,
        rate: float,
        seed: int,
        broker: Broker,
        process: Process[object],
    ) -> None:
        self._federation, self._folder, self._rate, self._broker, self._process = federation, folder, rate, broker, process
        self._clients = deque(f"{name}-{i:04}" for i in range(count))
        self._mine = set(self._clients)
        self._newest = dict.fromkeys(self._clients, -1)  # base of the newest update, by client
        self._outbox: dict[int, tuple[Address, bytes, str, int]] = {}  # by token: unconfirmed
        self._again: deque[tuple[int, Address, bytes, str, int]] = deque()  # at a version
        self._tokens = 0
        self._due, self._ticked = 0.0, time.monotonic()
        self._replica = Replica(federation=federation, participant=name)
        self._recall()
        self._journal = Journal(folder)
        self._dice = np.random.default_rng([seed, int.from_bytes(os.urandom(4))])

    def take(self, event: object) -> None:
        """Deal with an event."""
        match event:
            case MailArrived(tag=tag, content=content):
                self._follow(receive(self._replica, content))
                self._broker.acknowledge((tag,))
            case Woke(alarm=alarm):
                self._follow(remind(self._replica, alarm))
            case ReceiptArrived(tag=tag, receipt=receipt):
                self._note(receipt)
                self._broker.acknowledge((tag,))
            case Confirmed(token=token) if token in self._outbox:
                self._confirmed(*self._outbox.pop(token))
            case Unconfirmed(token=token) if token in self._outbox:
                to, body, *_ = self._outbox[token]
                self._broker.publish(token, (Envelope(to=to, body=body),))
            case Undecodable(delivery=delivery):
                self._broker.acknowledge((delivery.tag,))
            case Ticked():
                self._tick()

    def start(self) -> None:
        """Ask where the ledger stands, and publish what an earlier life left."""
        self._follow(begin(self._replica))
        for token, (to, body, *_) in self._outbox.items():
            self._broker.publish(token, (Envelope(to=to, body=body),))
        self._tick()

    def _recall(self) -> None:
        """What earlier lives sent, and what of it is not confirmed."""
        unconfirmed: dict[tuple[str, int], bytes] = {}
        for record in read(self._folder):
            identity = (record.client, record.base)
            if record.kind == "sent":
                unconfirmed[identity] = record.body
                self._newest[record.client] = max(self._newest[record.client], record.base)
            elif record.kind == "confirmed":
                unconfirmed.pop(identity, None)
        for (client, base), body in unconfirmed.items():
            self._outbox[self._token()] = (to_aggregator(self._federation, "update", client), body, client, base)

    def _follow(self, followed: tuple[Replica, tuple[Publish | Wake | Fail, ...]]) -> None:
        self._replica, effects = followed
        for effect in effects:
            match effect:
                case Publish(token=token, letters=letters):
                    self._broker.publish(token, tuple(map(seal, letters)))
                case Wake(after_seconds=seconds, alarm=alarm):
                    self._process.later(seconds, partial(Woke, alarm=alarm))
                case Fail(error=error):
                    raise error

    def _note(self, receipt: Receipt) -> None:
        if receipt.client in self._mine:
            body = encode(receipt)
            self._journal.write(Record(kind="receipt", at=time.time(), client=receipt.client, base=receipt.base, body=body))

    def _confirmed(self, to: Address, body: bytes, client: str, base: int) -> None:
        self._journal.write(Record(kind="confirmed", at=time.time(), client=client, base=base))
        if self._dice.random() < REPEATED and self._replica.held:
            self._again.append((self._replica.held.version + LATER, to, body, client, base))

    def _tick(self) -> None:
        """Publish as many updates as are due."""
        now = time.monotonic()
        self._due += self._rate * min(now - self._ticked, BURST * TICK_SECONDS)
        self._ticked = now
        self._process.later(TICK_SECONDS, Ticked)
        if self._replica.held is None or (self._folder / QUIET).exists():
            return
        version, state = self._replica.held.version, self._replica.held.round.state
        while self._again and self._again[0][0] <= version:
            _, to, body, client, base = self._again.popleft()
            self._send(to, body, client, base)
        while self._due >= 1 and len(self._outbox) < OUTBOX and self._newest[self._clients[0]] < version:
            self._due -= 1
            self._make(version, state)
        self._due = min(self._due, 1.0)

    def _make(self, base: int, state: bytes) -> None:
        """An update of the client who has waited for longest."""
        assert self._replica.held
        client, steps = self._clients[0], self._replica.held.round.steps
        self._clients.rotate(-1)
        self._newest[client] = base
        update = Update(
            federation=self._federation,
            client=client,
            base=base,
            state=state,
            n=int(self._dice.integers(1, 500)),
            k=self._dice.integers(0, len(self._replica.held.coefficients), steps).astype("<u2").tobytes(),
            g=self._dice.normal(0.0, 5.0, steps).astype("<f2").tobytes(),
            loss=1.0,
            seconds=1.0,
            skipped=0,
        )
        body = encode(update)
        self._journal.write(Record(kind="sent", at=time.time(), client=client, base=base, body=body))
        self._send(to_aggregator(self._federation, "update", client), body, client, base)

    def _send(self, to: Address, body: bytes, client: str, base: int) -> None:
        token = self._token()
        self._outbox[token] = (to, body, client, base)
        self._broker.publish(token, (Envelope(to=to, body=body),))

    def _token(self) -> int:
        self._tokens += 1
        return self._tokens


def say(what: Condition) -> None:
    """Have it in the log what becomes of the connections."""
    print(type(what).__name__, what, file=sys.stderr, flush=True)


def main() -> None:
    """Run until the process is ended."""
    name, folder, count, rate, seed = sys.argv[1:]
    federation = os.environ["FEDKSEED_FEDERATION"]
    server = Server(os.environ["FEDKSEED_AMQP_URL"], name)
    broker = RabbitBroker(server, dice=Random(), observe=say)  # noqa: S311 - pauses are no secret
    process: Process[object] = Process(broker, shell.events)
    load = Load(
        federation=federation,
        name=name,
        folder=Path(folder),
        count=int(count),
        rate=float(rate),
        seed=int(seed),
        broker=broker,
        process=process,
    )
    signal.signal(signal.SIGTERM, lambda *_: process.stop())
    started = object()
    try:
        process.run(
            lambda event: load.start() if event is started else load.take(event),
            started,
            topology(federation, name),
            shell.queues(federation, name),
        )
    except FedkseedError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
