"""What does a federation take of its servers, by the number of its clients?

A `fedkseed aggregator` process, RabbitMQ and Redis, all private and on this machine, fold made-up updates (see
`benchmarks/aggregator.py`): in each round one of each client. Printed for each number of clients: the CPU time of an update in
each process, RabbitMQ's with that of putting the updates into its queue; how large each process was at most, RabbitMQ's with a
round that waits; what Redis keeps of a round, and what a round adds to its append-only file.

There is no rival: these are figures to plan by, not a claim about speed.

    python -m benchmarks.capacity [--json] [--rounds N]
"""

import argparse
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

from redis import Redis

from benchmarks.aggregator import (
    NAME,
    SIZE,
    STEPS,
    UPDATES,
    Clients,
    Office,
    genesis,
    ours,
    policy,
    servers,
    wait_for_consumer,
    written,
)
from benchmarks.interleaved import report
from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed_local.program import Program
from fedkseed_local.servers import RedisServer

CLIENTS = (10, 100, 1000)
WARM_UP = 8  # rounds after which nothing is new: receipts of so many versions are kept
TICK = 1 / os.sysconf("SC_CLK_TCK")


def row(clients: int, rounds: int) -> dict[str, object]:
    """What so many clients take."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rabbit, redis = stack.enter_context(servers(Path(folder)))
        ledger = stack.enter_context(closing(RedisLedger.found(redis.url, genesis(), policy(clients))))
        broker = stack.enter_context(closing(RabbitBroker(Server(rabbit.url(), "benchmark"), dice=Random(0))))  # noqa: S311 - pauses are no secret
        members, office = Clients(ledger.head(), clients), Office(broker, clients)
        aggregator = ours(Path(folder), rabbit, redis)
        stack.callback(aggregator.kill)
        aggregator.start()
        wait_for_consumer(rabbit, UPDATES)
        programs = {"aggregator": aggregator, "rabbitmq": rabbit, "redis": redis}

        def play(count: int) -> None:
            for _ in range(count):
                office.send(UPDATES, [members.round()])
                office.receipts(1)

        play(WARM_UP)
        seconds, kept, file = {name: cpu(program) for name, program in programs.items()}, memory(redis), written(redis)
        play(rounds)
        updates = clients * rounds
        spent = {f"{name} ms": 1000 * (cpu(program) - seconds[name]) / updates for name, program in programs.items()}
        grown = {"kept bytes": (memory(redis) - kept) / rounds, "file bytes": (written(redis) - file) / rounds}
        os.kill(aggregator.pid, signal.SIGSTOP)
        office.send(UPDATES, [members.round()])
        largest = {f"{name} MiB": peak(program) for name, program in programs.items()}
        os.kill(aggregator.pid, signal.SIGCONT)
        office.receipts(1)
        assert ledger.head().version == WARM_UP + rounds + 1
        return {"clients": clients, **spent, **largest, **grown}


def family(program: Program) -> Iterator[Path]:
    """The processes of a program: itself, and whom it has started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) == program.pid:
                yield process
        except ProcessLookupError:
            continue


def cpu(program: Program) -> float:
    """Seconds of processor time that a program has had."""
    fields = [(process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split() for process in family(program)]
    return sum(TICK * (int(stat[11]) + int(stat[12])) for stat in fields)


def peak(program: Program) -> float:
    """How large a program was at most, resident, in MiB."""
    statuses = [(process / "status").read_text(encoding="utf-8") for process in family(program)]
    lines = [line.split() for status in statuses for line in status.splitlines()]
    return sum(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024


def memory(redis: RedisServer) -> int:
    """Bytes that Redis uses for data."""
    with closing(Redis.from_url(redis.url)) as connection:
        used: int = connection.info("memory")["used_memory_dataset"]
        return used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="that are measured")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    title = f"what a federation takes of its servers, tau = {STEPS}, K = {SIZE}, federation {NAME}"
    report(title, [row(clients, arguments.rounds) for clients in CLIENTS], arguments.json)


if __name__ == "__main__":
    main()
