"""A federation of real processes over RabbitMQ and Redis, with a tiny random Llama."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from fedkseed import federation as settings
from fedkseed import model
from fedkseed.ledger.redis import RedisLedger
from fedkseed_aggregator.patience import PatientLedger
from fedkseed_local.program import Program
from fedkseed_local.services import service
from tests.embedded import TOY, described, write_rows, write_toml
from tests.processes import PATIENCE_SECONDS, until

FEDERATION = "toy"


class Party:
    """Services on one federation, founded and ready."""

    def __init__(self, folder: Path, base: Path, amqp: str, redis: str, **sections) -> None:
        self.folder, self._base, self._redis = folder, base, redis
        self._amqp = amqp + sections.pop("query", "")
        path = write_toml(folder / "federation.toml", described(base, folder, TOY, **sections))
        federation = settings.load(path)
        genesis = model.found(federation, model.open_base(federation.model.base))
        self.ledger = PatientLedger(RedisLedger.found(redis, genesis.encode(), federation.policy), Event())
        self.services: dict[str, Program] = {}

    def start(self, kind: str, name: str, rows=TOY, **environment: str) -> Program:
        arguments = [kind]
        if kind != "aggregator":
            arguments += ["--data", str(write_rows(self.folder / f"{name}.jsonl", rows))]
        variables = {
            "FEDKSEED_FEDERATION": FEDERATION,
            "FEDKSEED_AMQP_URL": self._amqp,
            "FEDKSEED_REDIS_URL": self._redis,
            "FEDKSEED_BASE": str(self._base),
            "FEDKSEED_CLIENT_ID": name,
            "FEDKSEED_STATE_DIR": str(self.folder / name),
            "FEDKSEED_THREADS": "1",
            **environment,
        }
        self.services[name] = service(arguments, self.folder / f"{name}.log", variables)
        self.services[name].start()
        return self.services[name]

    def reach(self, version: int) -> None:
        """Wait until the federation has come so far."""
        until(lambda: self.ledger.head().version >= version)

    def end(self, *names: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until services have ended by themselves; all of them well."""
        until(lambda: all(self.services[name].code is not None for name in names), seconds)
        assert {name: self.services[name].last_words() for name in names if self.services[name].code} == {}

    def wrote(self, name: str, page: str) -> list[dict]:
        """What a client wrote down: `sent` or `receipts`."""
        path = self.folder / name / f"{page}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def unanswered(self, name: str) -> set[int]:
        """The bases of updates that a client has sent and has no receipt for."""
        return {line["base"] for line in self.wrote(name, "sent")} - {line["base"] for line in self.wrote(name, "receipts")}

    def final(self, name: str) -> tuple[int, str]:
        """The last version and its weights digest, as a participant says them."""
        words = re.findall(r"final weights version=(\d+) weights_digest=([0-9a-f]{64})", self.services[name].log.read_text())
        ((version, digest),) = set(words)  # one line of each time that it ended
        return int(version), digest

    def rebuilt(self) -> tuple[int, str]:
        """The same of the ledger."""
        head = self.ledger.head()
        return head.version, model.weights_digest(head.genesis, head.coefficients, self._base)


@pytest.fixture
def party(tmp_path, tiny_base, rabbit, vhost, redis_server) -> Iterator:
    """Make a party; its services end with the test."""
    made: list[Party] = []

    def make(**sections) -> Party:
        made.append(Party(tmp_path, tiny_base, rabbit.url(vhost), redis_server.url, **sections))
        return made[0]

    yield make
    for program in (program for one in made for program in one.services.values()):
        program.kill()
