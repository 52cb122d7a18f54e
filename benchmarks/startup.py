"""How long does a client take from its start to its first training step?

Ours: `fedkseed client`, started as an operator starts it, with all parameters of SmolLM2-135M: it connects, asks for the
ledger, opens the base and compares its digest, and takes a step; a round has one. The clock stops when its first update is on
its disk (`sent.jsonl`). RabbitMQ, Redis and the aggregator are private and run already. Every turn is another client that has
never run; the files are in the system's cache.

Baseline: `benchmarks/plain.py`, which imports torch and transformers, loads the same base, and computes as many forward passes
of a batch of the same size. Both are started in turns.

    python -m benchmarks.startup [--json] [--runs N]
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import torch

from benchmarks import plain
from benchmarks.aggregator import PATIENCE_SECONDS, servers, wait_for_consumer
from benchmarks.interleaved import medians_told, report
from fedkseed import federation as settings
from fedkseed import model
from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.topology import updates_queue
from fedkseed_local.program import Program
from fedkseed_local.services import service

EXAMPLE, BASE, EXAMPLES = (
    Path("examples/sentiment-full.toml"),
    Path(".cache/smollm2-135m"),
    Path(".cache/sentiment/train.jsonl"),
)
HELD = 100  # examples of a client
LOOK_SECONDS = 0.005  # how exactly it is seen that something is there
THREADS = torch.get_num_threads()


def described() -> settings.Federation:
    """The federation: one step, and a round for each client."""
    example = settings.load(EXAMPLE)
    training, rounds = replace(example.training, steps=1), replace(example.rounds, cohort=1, participation=1.0, total=None)
    return replace(example, training=training, rounds=rounds)


def timed(program: Program, sign: Path) -> float:
    """Seconds from a program's start until a file is there."""
    start = time.perf_counter()
    program.start()
    try:
        while not sign.exists():
            assert not program.ended(within=LOOK_SECONDS) or sign.exists(), program.last_words()
            assert time.perf_counter() - start < PATIENCE_SECONDS, program.last_words()
        return time.perf_counter() - start
    finally:
        program.kill()


def ours(folder: Path, data: Path, where: dict[str, str], numbers: Callable[[], int]) -> float:
    """Start a client that has never run."""
    name = f"client-{numbers()}"
    environment = {
        **where,
        "FEDKSEED_CLIENT_ID": name,
        "FEDKSEED_BASE": str(BASE.resolve()),
        "FEDKSEED_STATE_DIR": str(folder / name),
    }
    program = service(["client", "--data", str(data)], folder / f"{name}.log", environment, threads=THREADS)
    return timed(program, folder / name / "sent.jsonl")


def rival(folder: Path, data: Path, batch: int, numbers: Callable[[], int]) -> float:
    """Start the baseline."""
    sign = folder / f"plain-{numbers()}"
    script = str(Path(plain.__file__).resolve())
    command = [sys.executable, script, str(BASE.resolve()), str(data), str(batch), str(THREADS), str(sign)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    return timed(Program(command, folder / "plain.log", environment), sign)


def rows(runs: int) -> list[dict[str, object]]:
    """One row: both times."""
    federation = described()
    genesis = model.found(federation, model.open_base(BASE)).encode()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        rabbit, redis = stack.enter_context(servers(folder))
        RedisLedger.found(redis.url, genesis, federation.policy).close()
        where = {
            "FEDKSEED_FEDERATION": federation.name,
            "FEDKSEED_AMQP_URL": rabbit.url(),
            "FEDKSEED_REDIS_URL": redis.url,
        }
        aggregator = service(["aggregator"], folder / "aggregator.log", where)
        stack.callback(aggregator.kill)
        aggregator.start()
        wait_for_consumer(rabbit, updates_queue(federation.name))
        data = folder / "data.jsonl"
        with EXAMPLES.open(encoding="utf-8") as lines:
            data.write_text("".join(islice(lines, HELD)), encoding="utf-8")
        numbers = partial(next, count())
        seconds = medians_told(
            {
                "ours": lambda: ours(folder, data, where, numbers),
                "plain": lambda: rival(folder, data, federation.training.batch, numbers),
            },
            runs,
            warm_up=1,
        )
    return [{"client s": seconds["ours"], "plain s": seconds["plain"], "ratio": seconds["ours"] / seconds["plain"]}]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="turns of which the median counts")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    report(f"from a client's start to its first step, {THREADS} threads", rows(arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
