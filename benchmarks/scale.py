"""What does an update cost an aggregator when there are a million clients?

The aggregator's own parts, put together as its command does: gate with quotas, machine, shell, observer with all metrics,
ledger in this process. There is no model and no network: in place of a broker is one that counts bytes and confirms at once.
Updates are made up, honest and measured by nobody, and come as bytes of the codec; everybody is heard once before anybody is
heard again. A round takes 1000 of them, whoever they come from, as the rounds of a large federation do. The clock is virtual,
500 updates a second. Making updates is not counted.

Each number of clients has a process of its own, so that its largest size is its own. The log of commits is kept for its
newest entries only: in a federation it is in Redis, and grows with versions, not with clients.

Baseline: what cannot be done without, reading the same bytes and writing their receipts, in turns with the rounds; and the same
with a thousand clients. Time is processor time, so that what else runs on the machine counts for less.

    python -m benchmarks.scale [--json] [--clients N …] [--rounds N]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from benchmarks.aggregator import NAME, SIZE, STEPS, Sent, genesis, policy
from benchmarks.alone import alone, size
from benchmarks.interleaved import report
from fedkseed.codec import decode, encode
from fedkseed.ledger.fold import Folded, found
from fedkseed.ledger.head import Head
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.store import Change
from fedkseed.ledger.watched import WatchedLedger
from fedkseed.messages import STATE_BYTES, Receipt, Update
from fedkseed.metrics.services import AggregatorMetrics
from fedkseed.reactor import Reactor
from fedkseed.settings import AggregatorSettings
from fedkseed.traffic import Traffic
from fedkseed.transport.broker import Confirmed, Delivery, Envelope, Notice
from fedkseed.transport.topology import Topology, updates_queue
from fedkseed.transport.watched import WatchedBroker
from fedkseed_aggregator import machine, shell
from fedkseed_aggregator.events import Started
from fedkseed_aggregator.observer import Observer
from fedkseed_aggregator.quota import Gate

CLIENTS = (1_000, 10_000, 100_000, 1_000_000)
COHORT, BATCH = 1000, 250  # updates of a round, and of a transaction
RATE = 500.0  # updates a second of the virtual clock
KEPT = 8  # newest entries of the log
STRIDE = 611_953  # a prime: steps over all clients, in an order that looks like none
STOCK = 64  # updates that differ; the others repeat their numbers under other names


class Counting:
    """A `Broker` without a network: letters are counted, and confirmed when the aggregator comes around to it."""

    def __init__(self) -> None:
        self.said: list[Notice] = []
        self.bytes = self.letters = self.acknowledged = 0

    def start(self, topology: Topology, queues: Sequence[str], notify: Callable[[Notice], None]) -> None:
        """See Broker."""

    def look(self, queue: str) -> tuple[Delivery, ...]:  # noqa: ARG002 - nothing waits in any
        """See Broker."""
        return ()

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """See Broker."""
        self.bytes += sum(len(envelope.body) for envelope in envelopes)
        self.letters += len(envelopes)
        self.said.append(Confirmed(token=token))

    def acknowledge(self, tags: Iterable[int]) -> None:
        """See Broker."""
        self.acknowledged += sum(1 for _ in tags)

    def close(self) -> None:
        """See Broker."""


class Newest(MemoryLedger):
    """A ledger in this process that forgets all but the newest entries of its log."""

    def transact(self, change: Change) -> Folded:
        """See LedgerStore."""
        folded = super().transact(change)
        excess = max(0, len(self._log) - KEPT)
        self._first += excess
        del self._log[:excess]
        return folded


class Aggregator:
    """All of it that decides, and all that watches."""

    def __init__(self) -> None:
        self.now, self.broker = 0.0, Counting()
        self.ledger = Newest(found(genesis(), policy(COHORT), self.now), lambda: self.now)
        metrics, quota = AggregatorMetrics(), AggregatorSettings(federation=NAME).updates_per_minute
        self._traffic = Traffic(metrics.transport, NAME, waiting=lambda: None)
        observer = Observer(metrics, self._traffic, lambda: None, lambda: self.now, self.ledger.commits)
        edge = shell.Shell(
            store=WatchedLedger(self.ledger, observer.ledger),
            broker=WatchedBroker(self.broker, self._traffic.passed),
            wake=lambda _at, _event: None,
        )
        self._reactor = Reactor(machine.State(federation=NAME), machine.step, edge.carry_out, observer)
        self._gate = Gate({"updates": quota}, lambda: self.now)
        self._tags = 0
        self._reactor.feed(Started())
        self._go_on([])

    def take(self, letters: Sequence[Sent]) -> None:
        """Deal with what was delivered at one time, until nothing is left to do."""
        deliveries = [
            Delivery(tag=tag, queue=updates_queue(NAME), key=f"update.{client}", body=body)
            for tag, (client, body) in enumerate(letters, self._tags)
        ]
        self._tags += len(letters)
        self.now += len(letters) / RATE
        for delivery in deliveries:
            self._traffic.passed(delivery)
        self._go_on(deliveries)

    def _go_on(self, notices: Sequence[Notice]) -> None:
        """Feed what the broker said, and what it says to that."""
        while notices := [*notices, *self.broker.said]:
            self.broker.said.clear()
            for event in self._gate(notices):
                self._reactor.feed(event)
            notices = []


class Clients:
    """So many clients, one after the other; nothing is kept of any of them."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self._count, self._next = count, 0
        k = rng.integers(0, SIZE, (STOCK, STEPS)).astype("<u2")
        g = rng.normal(0.0, 5.0, (STOCK, STEPS)).astype("<f2")
        self._stock = [(seeds.tobytes(), scalars.tobytes()) for seeds, scalars in zip(k, g, strict=True)]

    def updates(self, head: Head, count: int) -> list[Sent]:
        """So many updates on the newest version, of clients that were not heard of for longest."""
        return [self._update(head, number) for number in self._numbers(count)]

    def _numbers(self, count: int) -> range:
        first, self._next = self._next, self._next + count
        return range(first, self._next)

    def _update(self, head: Head, number: int) -> Sent:
        client = f"client-{number * STRIDE % self._count:07}"
        k, g = self._stock[number % STOCK]
        update = Update(
            federation=NAME,
            client=client,
            base=head.version,
            state=head.digest[:STATE_BYTES],
            n=50 + number % 450,
            k=k,
            g=g,
            loss=1.0,
            seconds=100.0,
            skipped=0,
        )
        return client, encode(update)


def codec(letters: Sequence[Sent]) -> None:
    """The baseline: read the updates, write their receipts."""
    for client, body in letters:
        update = decode(body)
        assert isinstance(update, Update)
        receipt = Receipt(
            federation=NAME,
            client=client,
            base=update.base,
            outcome="folded",
            staleness=0,
            weight=update.n,
            version=update.base,
            reason="",
        )
        encode(receipt)


def spent(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measured(clients: int, rounds: int) -> dict[str, float]:
    """What so many clients cost, in this process."""
    small = size("VmRSS")
    aggregator, crowd = Aggregator(), Clients(clients)
    ours = baseline = 0.0
    walls, sent = [], 0
    for _ in range(rounds):
        wall = 0.0
        for _ in range(COHORT // BATCH):
            letters = crowd.updates(aggregator.ledger.head(), BATCH)
            sent += sum(len(body) for _, body in letters)
            baseline += spent(lambda letters=letters: codec(letters))
            start = time.perf_counter()
            ours += spent(lambda letters=letters: aggregator.take(letters))
            wall += time.perf_counter() - start
        walls.append(wall)
    updates = rounds * COHORT
    broker = aggregator.broker
    assert aggregator.ledger.head().version == rounds
    assert broker.acknowledged == updates
    assert broker.letters == updates + rounds + 1  # a receipt each, and the rounds
    return {
        "clients": clients,
        "updates": updates,
        "update us": 1e6 * ours / updates,
        "codec us": 1e6 * baseline / updates,
        "ratio": ours / baseline,
        "round ms": 1e3 * statistics.median(walls),
        "bytes in": sent / updates,
        "bytes out": broker.bytes / updates,
        "before MiB": small,
        "largest MiB": size("VmHWM"),
    }


def rows(numbers: Sequence[int], rounds: int) -> Iterator[dict[str, object]]:
    """One row for each number of clients; everybody is heard once at the least."""
    first = 0.0
    for clients in numbers:
        row = alone("benchmarks.scale", clients, "--rounds", max(rounds, clients // COHORT))
        first = first or row["ratio"]
        yield {**row, "updates 1/s": 1e6 / row["update us"], f"over {numbers[0]}": row["ratio"] / first}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=200, help="at the least")
    parser.add_argument("--alone", type=int, metavar="N", help="measure so many clients in this process")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measured(arguments.alone, arguments.rounds)))
        return
    title = f"what an update costs an aggregator, by the number of clients, cohort {COHORT}, tau = {STEPS}, K = {SIZE}"
    report(title, list(rows(arguments.clients, arguments.rounds)), arguments.json)


if __name__ == "__main__":
    main()
