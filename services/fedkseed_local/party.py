"""The federation of a file on this machine: servers where none are given, an aggregator, an evaluator, clients.

What was started last is stopped first: clients and the evaluator, the aggregator, RabbitMQ, Redis. All files are in one
folder, and a party in the same folder goes on where the last one ended:

    data/       the examples of each client, and the held-out ones
    state/      what each client keeps
    logs/       what each process says
    rabbitmq/   redis/
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from fedkseed.data import Dataset, Example
from fedkseed.errors import FileError, LocalError
from fedkseed.federation import ByField, Federation
from fedkseed.tls import Tls
from fedkseed_local.program import Program
from fedkseed_local.servers import RabbitServer, RedisServer
from fedkseed_local.services import service

AGGREGATOR, EVALUATOR = "aggregator", "evaluator"


def fitted(federation: Federation, clients: int) -> Federation:
    """The same federation for so many clients: a cohort that they can fill, and all of them invited if need be.

    Of a partition by field the most active clients stay.
    """
    rounds = federation.rounds
    cohort = min(rounds.cohort, clients)
    rounds = replace(
        rounds,
        cohort=cohort,
        minimum=min(rounds.minimum, cohort),
        participation=rounds.participation if rounds.participation * clients >= cohort else 1.0,
    )
    partition = federation.data.partition
    if not isinstance(partition, ByField) or partition.clients is None or partition.clients > clients:
        partition = replace(partition, clients=clients)
    return replace(federation, rounds=rounds, data=replace(federation.data, partition=partition))


class Party:
    """Runs while it is entered; founding is left to who enters it.

    Args:
        folder: see the module; made if it is missing.
        amqp_url: RabbitMQ; one is started without it.
        redis_url: Redis; one is started without it.
        tls: to those.
        computing: what else services that compute with the model read from their environment.

    Raises:
        CannotStart: a server is not installed, or does not come up.
    """

    def __init__(
        self,
        folder: Path,
        amqp_url: str | None,
        redis_url: str | None,
        tls: Tls | None = None,
        computing: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._started = ExitStack()
        self._services: dict[str, Program] = {}
        self._amqp_url, self._redis_url, self._tls = amqp_url, redis_url, tls or Tls()
        self._computing = computing or {}

    def __enter__(self) -> Self:
        """Start the servers."""
        with ExitStack() as started:
            if self._redis_url is None:
                redis = RedisServer(_made(self.folder / "redis"))
                started.callback(redis.stop)
                redis.start()
                self._redis_url = redis.url
            if self._amqp_url is None:
                rabbit = RabbitServer(_made(self.folder / "rabbitmq"))
                started.callback(rabbit.stop)
                rabbit.start()
                self._amqp_url = rabbit.url()
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, what was started last first."""
        self._started.close()

    @property
    def redis_url(self) -> str:
        """Where the ledger is."""
        assert self._redis_url
        return self._redis_url

    def start(self, federation: Federation, dataset: Dataset) -> None:
        """Start the services of a federation that was founded.

        Raises:
            FileError: a folder or a file cannot be written.
        """
        everybody = {
            "FEDKSEED_FEDERATION": federation.name,
            "FEDKSEED_AMQP_URL": str(self._amqp_url),
            "FEDKSEED_BASE": _absolute(federation.model.base),
            **self._computing,
        }
        files = {"CA": self._tls.authority, "CERTIFICATE": self._tls.certificate, "KEY": self._tls.key}
        everybody |= {f"FEDKSEED_TLS_{name}": str(file.resolve()) for name, file in files.items() if file}
        if federation.model.support:
            everybody["FEDKSEED_SUPPORT"] = _absolute(federation.model.support)
        self._start(AGGREGATOR, [AGGREGATOR], everybody | {"FEDKSEED_REDIS_URL": self.redis_url}, 1)
        threads = max(1, (os.cpu_count() or 1) // (len(dataset.clients) + 1))
        plan = federation.evaluation
        scoring = {"FEDKSEED_EVERY": str(plan.every), "FEDKSEED_ROUGE_EXAMPLES": str(plan.rouge_examples)}
        if plan.examples:
            scoring["FEDKSEED_EXAMPLES"] = str(plan.examples)
        held_out = self._deal("held_out", dataset.held_out)
        self._start(EVALUATOR, [EVALUATOR, "--data", held_out], everybody | scoring, threads)
        for name, examples in dataset.clients.items():
            state = _made(self.folder / "state" / name)
            mine = {"FEDKSEED_CLIENT_ID": name, "FEDKSEED_STATE_DIR": str(state)}
            self._start(
                f"client-{name}", ["client", "--data", self._deal(f"client-{name}", examples)], everybody | mine, threads
            )

    @property
    def over(self) -> bool:
        """Whether clients and evaluator have done all there was to do."""
        return all(program.code == 0 for name, program in self._services.items() if name != AGGREGATOR)

    def check(self) -> None:
        """See that everybody is well.

        Raises:
            LocalError: a service has failed; the message says which, and what it said last.
        """
        for name, program in self._services.items():
            if program.code or (name == AGGREGATOR and program.code is not None):
                words = program.last_words().rpartition("\n")[2]
                raise LocalError(f"{name} ended with code {program.code}: {words} (its log: {program.log})")

    def _start(self, name: str, arguments: list[str], environment: dict[str, str], threads: int) -> None:
        program = service(arguments, _made(self.folder / "logs") / f"{name}.log", environment, threads)
        self._started.callback(program.stop)
        program.start()
        self._services[name] = program

    def _deal(self, name: str, examples: Iterable[Example]) -> str:
        """Write examples where a process reads them."""
        path = _made(self.folder / "data") / f"{name}.jsonl"
        try:
            path.write_text("".join(json.dumps(example) + "\n" for example in examples), encoding="utf-8")
        except OSError as error:
            raise FileError(f"{path}: {error.strerror}") from error
        return str(path)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: {error.strerror}") from error
    return folder


def _absolute(place: str) -> str:
    """A path as other folders know it; the id of a model stays what it is."""
    return str(Path(place).resolve()) if Path(place).exists() else place
