"""How many updates a second does one aggregator fold, beside a bare pika program?

Ours: a `fedkseed aggregator` process that takes updates from RabbitMQ, folds them into Redis (`appendfsync always`), sends
a receipt for each and acknowledges. Baseline: `benchmarks/bare.py`, which takes the same bytes from a queue of the same kind
and answers each with as many bytes, and has no ledger. Both servers are private, on this machine, and shared by both.

Updates are made up, honest and measured by nobody: scalars drawn from a normal distribution along seeds drawn uniformly. Each
client sends one to each round, and a round closes when it has all of them; the ledger's own `fold`, run here beforehand, says
which state every update names. A client has a queue for receipts, and its receipts stay there.

A turn: the program is suspended (SIGSTOP), some rounds of updates are put into its queue, it goes on (SIGCONT), and the
clock runs from there until the last client has the last of its receipts. What the broker pushes into a suspended program's
socket helps both. Receipts are published in the order of the updates and acknowledgements follow the confirms; that every
update was folded, answered and acknowledged is checked after the last turn, when both programs have ended: versions, receipts
in all queues, nothing left in either queue of updates.

    python -m benchmarks.aggregator [--json] [--clients N] [--rounds N] [--runs N]
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from random import Random

import numpy as np
from pika import BlockingConnection, URLParameters  # type: ignore[import-untyped]
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError  # type: ignore[import-untyped]

from benchmarks import bare
from benchmarks.interleaved import medians_told, report
from fedkseed.codec import encode
from fedkseed.federation import Policy, Pool, Response, Rounds, Training
from fedkseed.genesis import Genesis
from fedkseed.ledger.fold import fold
from fedkseed.ledger.head import Head
from fedkseed.ledger.redis import RedisLedger
from fedkseed.messages import STATE_BYTES, Receipt, Update
from fedkseed.transport.broker import Broker, Confirmed, Delivery, Envelope, Notice
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import (
    Address,
    Binding,
    Queue,
    Topology,
    personal,
    receipts_queue,
    shared,
    to_client,
    to_dead,
    updates_queue,
)
from fedkseed_local.program import Program
from fedkseed_local.servers import RabbitServer, RedisServer
from fedkseed_local.services import service

NAME, SIZE, STEPS, LR = "bench", 4096, 200, 3e-7
UPDATES, BARE_UPDATES = f"fedkseed.{NAME}.updates", "bare.updates"  # exchanges, and the queues behind them
WARM_UP = 1
Sent = tuple[str, bytes]  # who sends an update, and the update
PATIENCE_SECONDS = 120.0  # for a round, after which something is broken


def client_name(i: int) -> str:
    """The name of a client."""
    return f"client-{i:05}"


def topology(clients: int) -> Topology:
    """The federation's, a queue for the receipts of each client, and a second queue of updates for the baseline."""
    parts = [personal(NAME, client_name(i)) for i in range(clients)]
    receipts = {receipts_queue(NAME, client_name(i)) for i in range(clients)}
    rival = Queue(name=BARE_UPDATES, overflow="reject-publish", dead_letters=to_dead(NAME))
    return shared(NAME) | Topology(
        exchanges=(BARE_UPDATES,),
        queues=(rival, *(queue for part in parts for queue in part.queues if queue.name in receipts)),
        bindings=(
            Binding(exchange=BARE_UPDATES, queue=BARE_UPDATES, pattern="update.*"),
            *(binding for part in parts for binding in part.bindings if binding.queue in receipts),
        ),
    )


class Clients:
    """Everybody who takes part, in one head: they know what the ledger will be."""

    def __init__(self, head: Head, count: int) -> None:
        self._head, self._count = head, count
        self._rng = np.random.default_rng(0)
        self.receipts: tuple[Receipt, ...] = ()  # of the last round

    def round(self) -> list[Sent]:
        """An update of each client on the newest version, encoded, the last client's last; they bring the next one about."""
        updates = self.updates(self._head)
        self._head, folded = fold(self._head, updates, time.time())
        assert len(folded.commits) == 1
        self.receipts = folded.receipts
        return [(update.client, encode(update)) for update in updates]

    def updates(self, head: Head) -> list[Update]:
        """An update of each client on a version, the last client's last."""
        order = (*self._rng.permutation(self._count - 1), self._count - 1)
        return [self._update(head, client_name(i)) for i in order]

    def _update(self, head: Head, client: str) -> Update:
        return Update(
            federation=NAME,
            client=client,
            base=head.version,
            state=head.digest[:STATE_BYTES],
            n=int(self._rng.integers(50, 500)),
            k=self._rng.integers(0, SIZE, STEPS).astype("<u2").tobytes(),
            g=self._rng.normal(0.0, 5.0, STEPS).astype("<f2").tobytes(),
            loss=1.0,
            seconds=100.0,
            skipped=0,
        )


class Office:
    """The benchmark's own connection: puts updates into queues, and sees what the last client gets."""

    def __init__(self, broker: Broker, clients: int) -> None:
        self._broker, self._clients = broker, clients
        self._notices: SimpleQueue[Notice] = SimpleQueue()
        broker.start(topology(clients), (receipts_queue(NAME, client_name(clients - 1)),), self._notices.put)

    def send(self, exchange: str, rounds: Sequence[Sequence[Sent]]) -> None:
        """Put updates into a queue, and wait until it has them."""
        for sent in rounds:
            to = {client: Address(exchange=exchange, key=f"update.{client}", required=True) for client, _ in sent}
            self._broker.publish(0, [Envelope(to=to[client], body=body) for client, body in sent])
            assert self._notices.get(timeout=PATIENCE_SECONDS) == Confirmed(token=0)

    def receipts(self, count: int) -> None:
        """Wait until the last client has so many more receipts."""
        for _ in range(count):
            notice = self._notices.get(timeout=PATIENCE_SECONDS)
            assert isinstance(notice, Delivery)
            self._broker.acknowledge((notice.tag,))


def turn(office: Office, program: Program, exchange: str, rounds: Sequence[Sequence[Sent]]) -> float:
    """The seconds that a program takes for some rounds of updates."""
    os.kill(program.pid, signal.SIGSTOP)
    office.send(exchange, rounds)
    start = time.perf_counter()
    os.kill(program.pid, signal.SIGCONT)
    office.receipts(len(rounds))
    return time.perf_counter() - start


def rows(clients: int, rounds: int, runs: int) -> list[dict[str, object]]:
    """One row: both rates and what moved."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rabbit, redis = stack.enter_context(servers(Path(folder)))
        ledger = stack.enter_context(closing(RedisLedger.found(redis.url, genesis(), policy(clients))))
        members = Clients(ledger.head(), clients)
        expected = (WARM_UP + runs) * rounds
        made = [members.round() for _ in range(expected)]
        receipt = encode(members.receipts[-1])
        broker = stack.enter_context(closing(RabbitBroker(Server(rabbit.url(), "benchmark"), dice=Random(0))))  # noqa: S311 - pauses are no secret
        office = Office(broker, clients)
        programs = {"ours": ours(Path(folder), rabbit, redis), "bare": rival(Path(folder), rabbit, len(receipt))}
        exchanges, parts = {"ours": UPDATES, "bare": BARE_UPDATES}, {name: batches(made, rounds) for name in programs}
        for name, program in programs.items():
            stack.callback(program.kill)
            program.start()
            wait_for_consumer(rabbit, exchanges[name])
        before = written(redis)
        seconds = medians_told(
            {name: lambda name=name: turn(office, programs[name], exchanges[name], next(parts[name])) for name in programs},
            runs,
            WARM_UP,
        )
        for program in programs.values():
            program.stop()
        check(rabbit, ledger, clients, expected)
        updates = clients * rounds
        return [
            {
                "updates": updates,
                "update bytes": len(made[0][0][1]),
                "receipt bytes": len(receipt),
                "redis bytes": (written(redis) - before) / (clients * expected),
                "ours 1/s": updates / seconds["ours"],
                "bare 1/s": updates / seconds["bare"],
                "ratio": seconds["bare"] / seconds["ours"],
            }
        ]


@contextmanager
def servers(folder: Path) -> Iterator[tuple[RabbitServer, RedisServer]]:
    """Both servers, for as long as they are needed."""
    for part in ("rabbit", "redis"):
        (folder / part).mkdir()
    rabbit, redis = RabbitServer(folder / "rabbit"), RedisServer(folder / "redis", {"auto-aof-rewrite-percentage": "0"})
    try:
        rabbit.start()
        redis.start()
        yield rabbit, redis
    finally:
        redis.kill()
        rabbit.kill()


def genesis() -> bytes:
    """A federation without a model."""
    response = Response(kind="response")
    return Genesis(
        federation=NAME,
        layout=(),
        base_digest="0" * 64,
        support_digest=None,
        pool=Pool(size=SIZE),
        objective=response,
        lr=LR,
        tick=LR / 16,
    ).encode()


def policy(clients: int) -> Policy:
    """Rounds of all clients."""
    return Policy(training=Training(steps=STEPS, lr=LR), rounds=Rounds(cohort=clients, deadline_seconds=3600.0))


def ours(folder: Path, rabbit: RabbitServer, redis: RedisServer, name: str = "aggregator") -> Program:
    """An aggregator."""
    where = {"FEDKSEED_FEDERATION": NAME, "FEDKSEED_AMQP_URL": rabbit.url(), "FEDKSEED_REDIS_URL": redis.url}
    return service(["aggregator"], folder / f"{name}.log", where)


def rival(folder: Path, rabbit: RabbitServer, size: int) -> Program:
    """The baseline."""
    exchange = to_client(NAME, "").exchange
    command = [sys.executable, str(Path(bare.__file__).resolve()), rabbit.url(), BARE_UPDATES, exchange, str(size)]
    return Program(command, folder / "bare.log", {})


def batches(made: list[list[Sent]], rounds: int) -> Iterator[list[list[Sent]]]:
    """So many rounds at a time."""
    return (made[first : first + rounds] for first in range(0, len(made), rounds))


def written(redis: RedisServer) -> int:
    """Bytes of the append-only file."""
    return sum(path.stat().st_size for path in (redis.folder / "appendonlydir").glob("*.aof"))


def wait_for_consumer(rabbit: RabbitServer, queue: str, count: int = 1) -> None:
    """Wait until so many consume from a queue, which need not be there yet."""
    with closing(BlockingConnection(URLParameters(rabbit.url()))) as connection:
        while True:
            with suppress(ChannelClosedByBroker, ChannelWrongStateError), closing(connection.channel()) as channel:
                if channel.queue_declare(queue, passive=True).method.consumer_count >= count:
                    return
            connection.sleep(0.05)


def check(rabbit: RabbitServer, ledger: RedisLedger, clients: int, expected: int) -> None:
    """Every update was folded, answered and acknowledged, by both; the last client's receipts were taken out."""
    assert ledger.head().version == expected
    assert all(len(commit.members) == clients for commit in ledger.commits())
    with closing(BlockingConnection(URLParameters(rabbit.url()))) as connection:
        channel = connection.channel()

        def count(queue: str) -> int:
            letters: int = channel.queue_declare(queue, passive=True).method.message_count
            return letters

        assert count(updates_queue(NAME)) == count(BARE_UPDATES) == 0
        assert {count(receipts_queue(NAME, client_name(i))) for i in range(clients - 1)} <= {2 * expected}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000, help="of whom each sends an update to each round")
    parser.add_argument("--rounds", type=int, default=5, help="in a turn")
    parser.add_argument("--runs", type=int, default=5, help="turns of which the median counts")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    title = f"updates folded by one aggregator over letters answered by bare pika, tau = {STEPS}, K = {SIZE}"
    report(f"{title}, cohort {arguments.clients}", rows(arguments.clients, arguments.rounds, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
