"""How long does a client wait for its receipt?

Ours: a `fedkseed aggregator` process that folds into Redis (`appendfsync always`). Baseline: `benchmarks/bare.py`, which
answers the same letters and has no ledger. Both servers are private, on this machine, and shared by both; updates are those of
`benchmarks/aggregator.py`, made up and honest, one of each client to each round.

Updates are offered at a steady rate, whatever comes of them: each has its time, and is published then by the product's own
connection, signed and confirmed. Latency is from RabbitMQ's confirm, when the client may forget its update, until the receipt
is here. A receipt that comes before its confirm counts as 0; so the two programs are compared by what a client waits in all,
from the time for publishing on. Both programs are asked in turns, with the other one idle; figures are medians over turns of
each turn's percentile.

    python -m benchmarks.latency [--json] [--rate N] [--seconds N] [--runs N]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from threading import Event

from benchmarks.aggregator import (
    BARE_UPDATES,
    NAME,
    PATIENCE_SECONDS,
    SIZE,
    STEPS,
    UPDATES,
    Clients,
    Sent,
    genesis,
    ours,
    policy,
    rival,
    servers,
    topology,
    wait_for_consumer,
)
from benchmarks.interleaved import report
from fedkseed.codec import encode
from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.broker import Broker, Confirmed, Delivery, Envelope, Notice
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import Address, Binding, Queue, Topology, receipts_queue, to_client

CLIENTS = 500
WARM_UP = 1  # turns
TICK_SECONDS = 0.002  # how exactly an update is published at its time
RECEIPTS = receipts_queue(NAME, "everybody")
PERCENTILES = (50, 99)
Turns = Sequence[tuple[dict[str, float], dict[str, float]]]  # percentiles of the answer's time, and of the whole wait


def layout() -> Topology:
    """The federation's queues, the baseline's, and one queue with the receipts of everybody."""
    binding = Binding(exchange=to_client(NAME, "").exchange, queue=RECEIPTS, pattern="*")
    return topology(0) | Topology(exchanges=(), queues=(Queue(name=RECEIPTS, max_length=1 << 20),), bindings=(binding,))


class Watch:
    """Publishes updates at their times, and notes when each was confirmed and answered."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._count = self._answers = 0
        self._confirmed: list[float] = []
        self._answered: dict[str, list[float]] = {}
        self._all = (Event(), Event())  # confirmed, answered
        broker.start(layout(), (RECEIPTS,), self._hear)

    def turn(self, exchange: str, letters: Sequence[Sent], rate: float) -> tuple[list[float], list[float]]:
        """Seconds from confirm to receipt, and from publishing to receipt, of each letter."""
        self._count, self._answers, self._confirmed = len(letters), 0, []
        self._answered = {client: [] for client, _ in letters}
        for event in self._all:
            event.clear()
        published = []
        for token, due, (client, body) in paced(letters, rate):
            published.append(due)
            to = Address(exchange=exchange, key=f"update.{client}", required=True)
            self._broker.publish(token, [Envelope(to=to, body=body)])
        assert all(event.wait(PATIENCE_SECONDS) for event in self._all), "not everything is confirmed and answered"
        answers = {client: iter(times) for client, times in self._answered.items()}
        answered = [next(answers[client]) for client, _ in letters]  # of one client in their order
        waits = [max(0.0, there - sent) for sent, there in zip(self._confirmed, answered, strict=True)]
        return waits, [there - sent for sent, there in zip(published, answered, strict=True)]

    def _hear(self, notice: Notice) -> None:
        """On the connection's threads: confirms on one, receipts on another."""
        now = time.perf_counter()
        match notice:
            case Confirmed():  # in the order of publishing, as nothing is refused
                self._confirmed.append(now)
                if len(self._confirmed) == self._count:
                    self._all[0].set()
            case Delivery(tag=tag, key=client):
                self._answered[client].append(now)
                self._answers += 1
                self._broker.acknowledge((tag,))
                if self._answers == self._count:
                    self._all[1].set()


def paced(letters: Sequence[Sent], rate: float) -> Iterator[tuple[int, float, Sent]]:
    """Number, time and letter, each when its time has come."""
    start = time.perf_counter()
    for number, letter in enumerate(letters):
        due = start + number / rate
        while time.perf_counter() < due:
            time.sleep(TICK_SECONDS)
        yield number, due, letter


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds, the nearest of what was measured."""
    ordered = sorted(seconds)
    return {f"p{p}": 1e3 * ordered[max(0, -(-p * len(ordered) // 100) - 1)] for p in PERCENTILES}


def rows(rate: float, seconds: float, runs: int) -> list[dict[str, object]]:
    """One row for each program."""
    rounds = max(1, round(rate * seconds / CLIENTS))  # of a turn
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rabbit, redis = stack.enter_context(servers(Path(folder)))
        ledger = stack.enter_context(closing(RedisLedger.found(redis.url, genesis(), policy(CLIENTS))))
        members = Clients(ledger.head(), CLIENTS)
        made = [[sent for _ in range(rounds) for sent in members.round()] for _ in range(WARM_UP + runs)]
        broker = stack.enter_context(closing(RabbitBroker(Server(rabbit.url(), "benchmark"), dice=Random(0))))  # noqa: S311 - pauses are no secret
        watch = Watch(broker)
        receipt = len(encode(members.receipts[-1]))
        programs = {"ours": ours(Path(folder), rabbit, redis), "bare": rival(Path(folder), rabbit, receipt)}
        exchanges = {"ours": UPDATES, "bare": BARE_UPDATES}
        for name, program in programs.items():
            stack.callback(program.kill)
            program.start()
            wait_for_consumer(rabbit, exchanges[name])
        turns: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {name: [] for name in programs}
        for number, letters in enumerate(made):
            for name in programs:
                answered, waited = watch.turn(exchanges[name], letters, rate)
                if number >= WARM_UP:
                    turns[name].append((percentiles(answered), percentiles(waited)))
        assert ledger.head().version == len(made) * rounds
        return [row(name, rate, turns[name], turns["bare"]) for name in programs]


def row(name: str, rate: float, turns: Turns, bare: Turns) -> dict[str, object]:
    """Medians over turns, and what they are of the baseline's."""

    def median(of: Turns, kind: int, p: int) -> float:
        return statistics.median(turn[kind][f"p{p}"] for turn in of)

    return {
        "program": name,
        "offered 1/s": rate,
        **{f"p{p} ms": median(turns, 0, p) for p in PERCENTILES},
        **{f"in all p{p} ms": median(turns, 1, p) for p in PERCENTILES},
        **{f"in all p{p} ratio": median(turns, 1, p) / median(bare, 1, p) for p in PERCENTILES},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0, help="updates a second that are offered")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a turn")
    parser.add_argument("--runs", type=int, default=5, help="turns of which the median counts")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    title = f"from an update's confirm to its receipt, {CLIENTS} clients, tau = {STEPS}, K = {SIZE}"
    report(title, rows(arguments.rate, arguments.seconds, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
