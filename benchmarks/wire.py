"""How many bytes does a client send and receive in a round?

Real RabbitMQ, Redis and aggregator; ten clients whose machine, shell and connection are the product's, and whose trainer
replays what clients of SmolLM2-135M measured (benchmarks/data). Between each client and RabbitMQ every byte of AMQP is
counted, in both directions: messages, properties, framing, acknowledgements, confirms; neither TCP nor TLS. The figures are
of steady rounds, mean over rounds and clients; what a client costs before its first training stands apart, and heartbeats
are left out.

Baseline: the published method's count, K scalars of four bytes down and tau pairs of eight bytes up.

    python -m benchmarks.wire [--json] [--rounds N]
"""

import argparse
import contextlib
import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np

from benchmarks import recording
from benchmarks.counting import CountingWire
from benchmarks.interleaved import report
from benchmarks.recording import Recording
from fedkseed.federation import Policy, Pool, Response, Rounds, Training
from fedkseed.genesis import Genesis
from fedkseed.ledger.redis import RedisLedger
from fedkseed.pool import importance
from fedkseed.process import Process
from fedkseed.reactor import Reactor
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import personal
from fedkseed_client import machine, shell
from fedkseed_client.events import Event, Started
from fedkseed_client.machine import Assignment
from fedkseed_local.program import Program
from fedkseed_local.servers import RabbitServer, RedisServer
from fedkseed_local.services import service

NAME, SIZE, CLIENTS = "sentiment", 4096, 10
WARM_UP = 2  # rounds, so that importance is not uniform any more
PATIENCE_SECONDS = 120.0

P = TypeVar("P", bound=Program)
Counts = Counter[tuple[str, str]]  # bytes by direction and kind


class Client:
    """The product's client with a trainer that waits for a word, and then replays.

    Args:
        name: of the client.
        examples: how many it holds.
        amqp: makes the URL of the broker at another port.
        wire: what it reaches the broker through.
    """

    def __init__(self, name: str, examples: int, amqp: Callable[[int], str], wire: CountingWire) -> None:
        self.wire, self.began = wire, -1
        self.assignment: Assignment | None = None
        broker = RabbitBroker(Server(amqp(wire.port), f"fedkseed {name}"), dice=Random(0))  # noqa: S311 - pauses are no secret
        self.process: Process[Event] = Process(broker, shell.events)
        outside = shell.Shell(
            broker=broker,
            trainer=self,
            save=lambda _: None,
            note=lambda _: None,
            wake=lambda seconds, event: self.process.later(seconds, lambda: event),
            end=self.process.stop,
        )
        reactor = Reactor(machine.new(NAME, name, examples), machine.step, outside.carry_out)
        topology, queues = personal(NAME, name), shell.queues(NAME, name)
        run = lambda: self.process.run(reactor.feed, Started(), topology, queues)  # noqa: E731
        self.thread = threading.Thread(target=run, name=name, daemon=True)
        self.thread.start()

    def begin(self, assignment: Assignment) -> None:
        """See Trainer."""
        self.assignment, self.began = assignment, assignment.base

    def abandon(self) -> None:
        """See Trainer; nothing is under way."""

    def finish(self, recorded: Recording, number: int) -> None:
        """Report what was recorded under a number as measured now."""
        assert self.assignment
        trained = replace(recorded.update(number), base=self.assignment.base)
        levels = self.assignment.round.importance
        if levels is not None:  # then directions are drawn by it, as a client that trains does
            odds = importance.probabilities(importance.unpack(levels, len(self.assignment.coefficients)))
            drawn = np.random.default_rng(number).choice(len(odds), len(trained.k) // 2, p=odds)
            trained = replace(trained, k=drawn.astype("<u2").tobytes())
        self.process.put(trained)

    def ready(self, version: int) -> bool:
        """Whether it has begun on a version, has all its receipts, and everything is acknowledged and confirmed."""
        return self.began == version and self.wire.letters["received", "Receipt"] == version and self.wire.settled


def genesis(size: int) -> bytes:
    """A genesis without a base, which nobody needs here."""
    plain = Genesis(
        federation=NAME,
        layout=(),
        base_digest="0" * 64,
        support_digest=None,
        pool=Pool(size=size),
        objective=Response(kind="response"),
        lr=recording.LR,
        tick=recording.LR / 16,
    )
    return plain.encode()


def policy(recorded: Recording, clients: int, *, weighted: bool) -> Policy:
    """Synchronous rounds without end."""
    training = Training(steps=recorded.k.shape[1], lr=recording.LR, batch=recording.BATCH, importance=weighted)
    return Policy(training=training, rounds=Rounds(cohort=clients))


def measure(
    *, rabbit: RabbitServer, vhost: str, redis: str, folder: Path, recorded: Recording, size: int, chosen: Policy, rounds: int
) -> tuple[list[CountingWire], Counts, list[Counts]]:
    """Let a federation run for some rounds.

    Args:
        rabbit: a running node.
        vhost: a virtual host of the node that is the federation's alone.
        redis: the URL of a Redis where the federation was not founded yet.
        folder: for the aggregator's log.
        recorded: what clients measure.
        size: K.
        chosen: synchronous rounds.
        rounds: to count, after the warm-up.

    Returns:
        The wires, bytes until all clients had the first round, and bytes of each round; all clients together.
    """
    RedisLedger.found(redis, genesis(size), chosen).close()
    with contextlib.ExitStack() as stack:
        variables = {"FEDKSEED_FEDERATION": NAME, "FEDKSEED_AMQP_URL": rabbit.url(vhost), "FEDKSEED_REDIS_URL": redis}
        stack.enter_context(running(service(["aggregator"], folder / "aggregator.log", variables)))
        clients = [stack.enter_context(client(i, rabbit, vhost, recorded)) for i in range(chosen.rounds.cohort)]
        readings = []
        for version in range(WARM_UP + rounds + 1):
            for i, each in enumerate(clients if version else ()):
                each.finish(recorded, version * len(clients) + i)
            wait(lambda version=version: all(each.ready(version) for each in clients))
            readings.append(sum((each.wire.counts.copy() for each in clients), Counter()))
    wires = [each.wire for each in clients]
    differences = [after - before for before, after in itertools.pairwise(readings)]
    return wires, readings[0], differences[WARM_UP:]


@contextlib.contextmanager
def running(program: P) -> Iterator[P]:
    """A process for as long as it is needed."""
    program.start()
    try:
        yield program
    finally:
        program.kill()


@contextlib.contextmanager
def client(number: int, rabbit: RabbitServer, vhost: str, recorded: Recording) -> Iterator[Client]:
    """A client for as long as it is needed."""
    wire = CountingWire(rabbit.port)
    name, examples = f"client-{number:02}", int(recorded.examples[number % len(recorded.examples)])
    one = Client(name, examples, lambda port: rabbit.url(vhost, port=port), wire)
    try:
        yield one
    finally:
        one.process.stop()
        one.thread.join()
        wire.close()


def wait(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "the federation does not go on"
        time.sleep(0.01)


def summary(before: Counts, rounds: Sequence[Counts], clients: int, published: int) -> dict[str, float]:
    """Bytes for each client and round, by what they are."""
    steady = [without_heartbeats(one) for one in rounds]
    whole, each = sum(steady, Counter()), [one.total() / clients for one in steady]
    parts = {" ".join(key): whole[key] / (len(rounds) * clients) for key in sorted(whole)}
    directions = {way: sum(size for part, size in parts.items() if part.startswith(way)) for way in ("received", "sent")}
    total = sum(directions.values())
    return {
        **directions,
        "total": total,
        "smallest round": min(each),
        "largest round": max(each),
        **parts,
        "published method": published,
        "total / published": total / published,
        "before, once": without_heartbeats(before).total() / clients,
    }


def without_heartbeats(counts: Counts) -> Counts:
    """They depend on how long a round takes."""
    return Counter({key: size for key, size in counts.items() if key[1] != "heartbeat"})


def rows(recorded: Recording, rounds: int) -> list[dict[str, Any]]:
    """One row per kind of byte, one column per setting."""
    steps = recorded.k.shape[1]
    published = 4 * SIZE + 8 * steps
    columns: dict[str, Mapping[str, float]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, weighted in (("uniform", False), ("importance", True)):
            broker, store = folder / f"{name}-rabbitmq", folder / f"{name}-redis"
            broker.mkdir()
            store.mkdir()
            with running(RabbitServer(broker)) as rabbit, running(RedisServer(store)) as redis:
                chosen = policy(recorded, CLIENTS, weighted=weighted)
                _, before, counted = measure(
                    rabbit=rabbit,
                    vhost="/",
                    redis=redis.url,
                    folder=store,
                    recorded=recorded,
                    size=SIZE,
                    chosen=chosen,
                    rounds=rounds,
                )
            columns[name] = summary(before, counted, CLIENTS, published)
    lines = dict.fromkeys(line for column in columns.values() for line in column)
    return [{"bytes": line, **{name: column.get(line, 0.0) for name, column in columns.items()}} for line in lines]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="rounds that are counted")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    recorded = recording.read()
    title = f"bytes per client and round, K = {SIZE}, tau = {recorded.k.shape[1]}, cohort {CLIENTS}"
    report(title, rows(recorded, arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
