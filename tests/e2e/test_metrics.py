"""What services show of themselves on a port, and say in their logs, in a federation of real processes."""

import json
import os
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

from prometheus_client.parser import text_string_to_metric_families

from fedkseed_local.servers import free_port
from fedkseed_local.services import service
from tests.processes import until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server
from tests.toys import party

__all__ = ["party", "rabbit", "redis_server", "vhost"]


class Shown:
    """What a service shows on its port."""

    def __init__(self) -> None:
        self.listen = f"127.0.0.1:{free_port()}"
        self.environment = {"FEDKSEED_METRICS_LISTEN": self.listen, "FEDKSEED_LOG": "json"}

    def page(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.listen}/{path}") as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def samples(self) -> dict[tuple[str, ...], float]:
        """All samples, by name and values of labels."""
        status, text = self.page("metrics")
        assert status == 200
        families = text_string_to_metric_families(text)
        return {(s.name.removeprefix("fedkseed_"), *s.labels.values()): s.value for family in families for s in family.samples}

    def total(self, name: str, *values: str) -> float:
        """The sum of the samples of a name that have these values of labels."""
        return sum(value for (found, *labels), value in self.samples().items() if found == name and set(values) <= set(labels))

    def ready(self) -> int:
        return self.page("readyz")[0]


def lines(path) -> list[dict]:
    """What a service said; every line is an object."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(path, message: str) -> list[dict]:
    return [line for line in lines(path) if line["message"] == message]


def health(listen: str) -> tuple[int, str]:
    """Exit code and words of `fedkseed health`."""
    asked = subprocess.run(
        [sys.executable, "-m", "fedkseed_cli", "health"],
        env=os.environ | {"FEDKSEED_METRICS_LISTEN": listen},
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode, (asked.stdout or asked.stderr).strip()


def test_a_federation_can_be_looked_at(party):
    """Metrics of all three services agree with what happened; their logs are objects, without a password."""
    toy = party(
        training={"steps": 32, "batch": 1, "importance": True},
        rounds={"cohort": 2, "max_staleness": 1, "total": 6, "deadline_seconds": 600},
    )
    shown = {name: Shown() for name in ("aggregator", "ann", "bob", "evaluator")}
    toy.start("aggregator", "aggregator", **shown["aggregator"].environment)
    toy.start("client", "ann", **shown["ann"].environment)
    until(lambda: shown["ann"].ready() == 200)
    until(lambda: shown["aggregator"].ready() == 200)
    assert health(shown["aggregator"].listen) == (0, "ready")
    assert [shown["ann"].page(path)[0] for path in ("healthz", "nothing")] == [200, 404]
    ann = shown["ann"].samples()
    assert ann["train_step_seconds_count", "forward"] == ann["train_step_seconds_count", "materialise"]
    assert ann["process_resident_memory_bytes",] > 1e6

    toy.start("evaluator", "evaluator", **shown["evaluator"].environment)
    until(lambda: shown["evaluator"].ready() == 200)
    toy.start("client", "bob", **shown["bob"].environment)
    until(lambda: toy.ledger.head().state == "closed")
    toy.end("ann", "bob", "evaluator")
    until(lambda: shown["aggregator"].total("evaluated_version") == 6)

    seen = shown["aggregator"].samples()
    head = toy.ledger.head()
    assert (seen["version",], seen["state", "closed"], seen["state", "open"]) == (6, 1, 0)
    members = [member for commit in toy.ledger.commits() for member in commit.members]
    assert seen["updates_total", "folded"] + seen["updates_total", "discounted"] == len(members) == 12
    assert seen["round_duration_seconds_count",] == seen["commits_total", "round"] == 6
    assert seen["evaluation_score", "loss"] == head.evaluations[6]["loss"]
    assert 0.9 < seen["importance_entropy_ratio",] < 1
    assert seen["messages_total", "received", "update"] == len(toy.wrote("ann", "sent")) + len(toy.wrote("bob", "sent"))
    assert seen["publications_unconfirmed",] == 0

    everything = {name: lines(toy.folder / f"{name}.log") for name in shown}
    assert {(line["service"], line["client"]) for line in everything["ann"]} == {("client", "ann")}
    assert {line["federation"] for log in everything.values() for line in log} == {"toy"}
    assert len(said(toy.folder / "aggregator.log", "round closed")) == 6
    for name in ("ann", "bob"):
        receipts = said(toy.folder / f"{name}.log", "receipt")
        assert [line["outcome"] for line in receipts] == [line["outcome"] for line in toy.wrote(name, "receipts")]
    assert "guest@" not in "".join(json.dumps(log) for log in everything.values())


def test_a_ledger_that_is_away_makes_an_aggregator_unready_but_not_dead(party, redis_server):
    toy, shown = party(), Shown()
    toy.start("aggregator", "aggregator", **shown.environment)
    until(lambda: shown.ready() == 200)
    redis_server.kill()
    until(lambda: shown.ready() == 503)
    missing = "the ledger is not reachable, or not verified yet"
    assert json.loads(shown.page("readyz")[1]) == {"ready": False, "missing": [missing]}
    assert health(shown.listen) == (1, f"fedkseed: not ready: {missing}")
    assert shown.page("healthz")[0] == 200
    redis_server.start()
    until(lambda: shown.ready() == 200)
    assert shown.total("ledger_unreachable_total") >= 1
    assert said(toy.folder / "aggregator.log", "waiting for the ledger")


def test_bytes_of_messages_are_those_of_the_sockets(party):
    """What is computed for each message, and what went through the connections, differ by less than one in twenty."""
    toy, shown = party(training={"steps": 200, "batch": 1}, rounds={"cohort": 1, "total": 1000}), Shown()
    toy.start("aggregator", "aggregator")
    toy.start("client", "ann", **shown.environment)

    def both() -> tuple[float, float]:
        samples = shown.samples()
        names = ("message_framed_bytes_total", "socket_bytes_total")
        computed, passed = (sum(v for (found, *_), v in samples.items() if found == name) for name in names)
        return computed, passed

    until(lambda: shown.ready() == 200)
    until(lambda: shown.total("receipts_total") >= 1)
    computed, passed = both()
    until(lambda: shown.total("receipts_total") >= 12)
    after_computed, after_passed = both()
    assert abs((after_computed - computed) / (after_passed - passed) - 1) < 0.05


def test_an_aggregator_that_waits_for_its_servers_is_alive_and_not_ready(tmp_path):
    shown, nobody = Shown(), free_port()
    servers = {
        "FEDKSEED_AMQP_URL": f"amqp://guest:secret@127.0.0.1:{nobody}",
        "FEDKSEED_REDIS_URL": f"redis://127.0.0.1:{nobody}",
    }
    aggregator = service(["aggregator"], tmp_path / "log", {"FEDKSEED_FEDERATION": "toy", **servers, **shown.environment})
    aggregator.start()
    try:
        until(lambda: shown.page("healthz")[0] == 200)
        status, body = shown.page("readyz")
        assert (status, len(json.loads(body)["missing"])) == (503, 3)
    finally:
        assert aggregator.stop() == 0
    assert {line["message"] for line in lines(tmp_path / "log")} == {"disconnected"}
    assert "secret" not in (tmp_path / "log").read_text()
