"""What do several aggregators cost, and do they fold more than one?

One, two and four `fedkseed aggregator` processes take the updates of one federation from RabbitMQ and fold them into one ledger
in Redis (`appendfsync always`), which they change by optimistic transactions: who loses a race computes again. What that costs
shows in the processor time of an update, all aggregators together, beside that of one. Servers and updates are those of
`benchmarks/aggregator.py`, and a machine with few cores is full with one aggregator and RabbitMQ: there processor time says
what updates a second cannot.

A turn: so many aggregators are started; then, round after round, all are suspended, each client's update is put into the queue,
they go on, and the clock runs until the next round is announced. That every update counted is checked after each round.

    python -m benchmarks.several [--json] [--clients N] [--rounds N] [--runs N]
"""

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from queue import SimpleQueue
from random import Random

from benchmarks.aggregator import (
    NAME,
    PATIENCE_SECONDS,
    SIZE,
    STEPS,
    UPDATES,
    Clients,
    genesis,
    ours,
    policy,
    servers,
    wait_for_consumer,
)
from benchmarks.interleaved import report
from benchmarks.latency import layout
from fedkseed.codec import decode, encode
from fedkseed.ledger.redis import RedisLedger
from fedkseed.messages import Round
from fedkseed.transport.broker import Broker, Confirmed, Delivery, Envelope, Notice
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import Address, Binding, Queue, Topology, to_all
from fedkseed_local.program import Program
from fedkseed_local.servers import RabbitServer

COUNTS = (1, 2, 4)
WARM_UP = 1  # rounds of a turn
SETTLE_SECONDS = 0.2  # within which everything is confirmed once a round is announced
ANNOUNCED = Queue(name=f"fedkseed.{NAME}.announced")
Taken = tuple[float, float]  # seconds, and seconds of processors, both of a round


class Office:
    """Puts updates into the queue, and sees which rounds are announced."""

    def __init__(self, broker: Broker, ledger: RedisLedger, clients: int) -> None:
        self._broker, self._ledger, self._count = broker, ledger, clients
        self._clients = Clients(ledger.head(), clients)
        self._notices: SimpleQueue[Notice] = SimpleQueue()
        rounds = to_all(NAME)
        hearing = Binding(exchange=rounds.exchange, queue=ANNOUNCED.name, pattern=rounds.key)
        here = layout() | Topology(exchanges=(), queues=(ANNOUNCED,), bindings=(hearing,))
        broker.start(here, (ANNOUNCED.name,), self._notices.put)

    def round(self, programs: Sequence[Program]) -> Taken:
        """What some aggregators take for an update of each client."""
        head = self._ledger.head()
        letters = [
            Envelope(to=Address(exchange=UPDATES, key=f"update.{update.client}", required=True), body=encode(update))
            for update in self._clients.updates(head)
        ]
        _signal(programs, signal.SIGSTOP)
        self._broker.publish(0, letters)
        self._await(lambda notice: notice == Confirmed(token=0))
        before, start = sum(map(processor_seconds, programs)), time.perf_counter()
        _signal(programs, signal.SIGCONT)
        self.announced(head.version + 1)
        seconds = time.perf_counter() - start
        time.sleep(SETTLE_SECONDS)
        (commit,) = self._ledger.commits(after=head.version)
        assert len(commit.members) == self._count
        return seconds, sum(map(processor_seconds, programs)) - before

    def announced(self, version: int) -> None:
        """Wait until the round on a version is announced; it may be more than once."""

        def it(notice: Notice) -> bool:
            said = decode(notice.body) if isinstance(notice, Delivery) else None
            return isinstance(said, Round) and said.version == version

        self._await(it)

    def _await(self, wanted: Callable[[Notice], bool]) -> None:
        found = False
        while not found:
            notice = self._notices.get(timeout=PATIENCE_SECONDS)
            if isinstance(notice, Delivery):
                self._broker.acknowledge((notice.tag,))
            found = wanted(notice)


def _signal(programs: Sequence[Program], which: signal.Signals) -> None:
    for program in programs:
        os.kill(program.pid, which)


def processor_seconds(program: Program) -> float:
    """What a process has used of processors so far, in the system's ticks."""
    fields = Path(f"/proc/{program.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def turn(office: Office, rabbit: RabbitServer, programs: Sequence[Program], rounds: int) -> list[Taken]:
    """What some aggregators take for each of some rounds."""
    for program in programs:
        program.start()
    wait_for_consumer(rabbit, UPDATES, len(programs))
    taken = [office.round(programs) for _ in range(WARM_UP + rounds)]
    for program in programs:
        program.stop()
    return taken[WARM_UP:]


def rows(clients: int, rounds: int, runs: int) -> list[dict[str, object]]:
    """One row for each number of aggregators."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rabbit, redis = stack.enter_context(servers(Path(folder)))
        ledger = stack.enter_context(closing(RedisLedger.found(redis.url, genesis(), policy(clients))))
        programs = [ours(Path(folder), rabbit, redis, f"aggregator-{i}") for i in range(max(COUNTS))]
        for program in programs:
            stack.callback(program.kill)
        broker = stack.enter_context(closing(RabbitBroker(Server(rabbit.url(), "benchmark"), dice=Random(0))))  # noqa: S311 - pauses are no secret
        office = Office(broker, ledger, clients)
        programs[0].start()
        office.announced(0)
        programs[0].stop()
        taken: dict[int, list[Taken]] = {count: [] for count in COUNTS}
        for _ in range(runs):
            for count in COUNTS:
                taken[count] += turn(office, rabbit, programs[:count], rounds)
        return [_row(count, clients, taken) for count in COUNTS]


def _row(count: int, clients: int, taken: Mapping[int, Sequence[Taken]]) -> dict[str, object]:
    def medians(count: int) -> Iterator[float]:
        return map(statistics.median, zip(*taken[count], strict=True))

    (one, processors_of_one), (seconds, processors) = medians(1), medians(count)
    return {
        "aggregators": count,
        "updates 1/s": clients / seconds,
        "over one": one / seconds,
        "processor us": 1e6 * processors / clients,
        "processor ratio": processors / processors_of_one,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000, help="of whom each sends an update to each round")
    parser.add_argument("--rounds", type=int, default=5, help="in a turn")
    parser.add_argument("--runs", type=int, default=3, help="turns with each number of aggregators; medians are of rounds")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    title = f"updates of one federation, folded by several aggregators, tau = {STEPS}, K = {SIZE}, cohort {arguments.clients}"
    report(title, rows(arguments.clients, arguments.rounds, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
