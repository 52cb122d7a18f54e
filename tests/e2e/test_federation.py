"""A federation of real processes over RabbitMQ and Redis, with a tiny random Llama."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from fedkseed import federation as settings
from fedkseed import model
from fedkseed.genesis import Genesis
from fedkseed.ledger.log import verify
from fedkseed.ledger.redis import RedisLedger
from fedkseed_aggregator.patience import PatientLedger
from fedkseed_client.disk import Disk
from fedkseed_local.program import Program
from fedkseed_local.services import service
from tests.embedded import TOY, described, write_rows, write_toml
from tests.processes import PATIENCE_SECONDS, until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server

__all__ = ["rabbit", "redis_server", "vhost"]
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

    def wrote(self, name: str, page: str) -> list[dict]:
        """What a client wrote down: `sent` or `receipts`."""
        path = self.folder / name / f"{page}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def weights(self, name: str) -> str:
        """The weights digest of the version that a client holds."""
        state = Disk(self.folder / name).load(FEDERATION, name, 1)
        base = model.open_base(self._base)
        return model.rebuild_(Genesis.decode(state.replica.genesis), base, state.replica.held.coefficients)


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


def test_processes_train_a_model_together(party):
    """One aggregator, three clients, an evaluator: the log verifies, everybody ends, and what was sent was folded once."""
    toy = party(rounds={"cohort": 3, "max_staleness": 2, "total": 4, "deadline_seconds": 60})
    toy.start("aggregator", "aggregator")
    for i, name in enumerate(("ann", "bob", "cyd")):
        toy.start("client", name, TOY[i::3])
    toy.start("evaluator", "evaluator", TOY[:20])
    until(lambda: toy.ledger.head().state == "closed")
    until(lambda: all(toy.services[name].code == 0 for name in ("ann", "bob", "cyd", "evaluator")))
    assert toy.services["aggregator"].stop() == 0

    head, commits = toy.ledger.head(), tuple(toy.ledger.commits())
    assert verify(commits, head.genesis_bytes, head.size) == 4
    members = [(member.client, member.base) for commit in commits for member in commit.members]
    assert len(members) == len(set(members)) == 12
    assert set(members) <= {(name, line["base"]) for name in ("ann", "bob", "cyd") for line in toy.wrote(name, "sent")}
    assert head.evaluations[4]["loss"] < head.evaluations[0]["loss"]


def test_nothing_is_lost_or_counted_twice_whatever_is_killed(party, rabbit, redis_server):
    """Two aggregators, clients of uneven speed, one that joins late; everything that can die does, once."""
    toy = party(
        training={"steps": 24, "batch": 4},
        rounds={
            "cohort": 3,
            "max_staleness": 4,
            "staleness_law": "polynomial",
            "total": 20,
            "minimum": 3,
            "deadline_seconds": 20,
        },
    )
    clients = ("ann", "bob", "cyd", "dan")
    rows = {
        name: [{**row, "text": " ".join([row["text"]] * (1 + 6 * i))} for row in TOY[i::4]] for i, name in enumerate(clients)
    }
    toy.start("aggregator", "first")
    toy.start("aggregator", "second")
    toy.start("evaluator", "evaluator", TOY[:20], FEDKSEED_EVERY="5")
    for name in clients[:3]:
        toy.start("client", name, rows[name])

    toy.reach(2)
    toy.services["first"].kill()
    toy.reach(4)
    toy.services["first"].start()
    toy.services["bob"].kill()
    toy.services["bob"].start()
    toy.reach(7)
    rabbit.restart()
    toy.reach(9)
    redis_server.restart()
    toy.reach(12)
    toy.services["ann"].stop()  # from now on a round needs the newcomer
    toy.start("client", "dan", rows["dan"])
    until(lambda: toy.wrote("dan", "receipts"))
    toy.services["ann"].start()
    until(lambda: toy.ledger.head().state == "closed")
    until(lambda: all(toy.services[name].code == 0 for name in (*clients, "evaluator")))
    assert [toy.services[name].stop() for name in ("first", "second")] == [0, 0]

    head, commits = toy.ledger.head(), tuple(toy.ledger.commits())
    assert verify(commits, head.genesis_bytes, head.size) == 20
    members = [(member.client, member.base, member.omega) for commit in commits for member in commit.members]
    assert len(members) == len(set(members))
    for name in clients:
        receipts = {}
        for line in toy.wrote(name, "receipts"):
            assert receipts.setdefault(line["base"], line) == line, "a second, different receipt"
        assert receipts.keys() == {line["base"] for line in toy.wrote(name, "sent")}, "an update without a receipt"
        counted = {(name, base, line["weight"]) for base, line in receipts.items() if line["weight"]}
        assert counted == {member for member in members if member[0] == name}
    assert {base for client, base, _ in members if client == "dan"}
    assert head.evaluations.keys() >= {0, 20}
    assert len({toy.weights(name) for name in clients}) == 1


def test_a_long_training_keeps_its_connection(party):
    """Training for more than ten heartbeat intervals: the update is delivered over the connection that was there."""
    toy = party(
        training={"steps": 3000, "lr": 1e-6}, rounds={"cohort": 1, "total": 1, "deadline_seconds": 600}, query="?heartbeat=1"
    )
    toy.start("aggregator", "aggregator")
    ann = toy.start("client", "ann")
    until(lambda: ann.code == 0, seconds=10 * PATIENCE_SECONDS)
    (sent,), (receipt,) = toy.wrote("ann", "sent"), toy.wrote("ann", "receipts")
    (member,) = next(toy.ledger.commits()).members
    assert (receipt["outcome"], receipt["base"], len(sent["gradients"])) == ("folded", 0, 3000)
    assert member.client == "ann"
    assert "Disconnected" not in ann.log.read_text()
    assert sent["seconds"] > 10
