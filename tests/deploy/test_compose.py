"""docker-compose.yml: hardened, closed to the outside, and in step with the example, the credentials and the program."""

import json
import re
from pathlib import Path

import pytest

from fedkseed import data, federation
from fedkseed.process import GRACE_SECONDS
from fedkseed.settings import PREFIX, DoctorSettings
from fedkseed.transport.line import CLOSING_SECONDS
from fedkseed_cli.__main__ import SUBCOMMANDS
from tests.deployment import DEPLOY, VERSION, compose, tool
from tests.pages import ROOT

EXAMPLE = ROOT / "examples" / "sentiment-three.toml"
OURS = ("fedkseed-light", "fedkseed-training", "fedkseed-example")
CLIENTS = ("client-1", "client-2", "client-3")
ONE_SHOT = {"prepare", "init", "operator", "export"}
SERVICES = tuple(compose()["services"].items())
each = pytest.mark.parametrize(("name", "service"), SERVICES, ids=[name for name, _ in SERVICES])


def services() -> dict:
    return compose()["services"]


def test_it_is_valid_with_no_edit():
    tool("docker-compose", "config", "--quiet")


@each
def test_every_container_is_hardened(name, service):
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert int(service["mem_limit"]) > 0
    assert service["cpus"] > 0
    assert service["pids_limit"] > 0


@each
def test_every_image_is_pinned(name, service):
    image, tag = service["image"].rsplit(":", 1)
    assert re.search(r"\d+\.\d+\.\d+", tag)
    assert ("build" in service) == (image in OURS)
    assert image not in OURS or tag == VERSION


@each
def test_what_runs_on_is_watched_and_comes_back(name, service):
    watched = not service["healthcheck"].get("disable", False)
    assert watched == (service["restart"] != "no") == (name not in ONE_SHOT)
    assert service["stop_grace_period"] == "40s"


def test_a_service_may_take_as_long_to_end_as_it_needs():
    assert GRACE_SECONDS + 2 * 2 * CLOSING_SECONDS < 40


@each
def test_only_this_machine_reaches_what_is_published(name, service):
    assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}


def test_who_meets_whom():
    def on(network: str) -> set[str]:
        return {name for name, service in services().items() if network in service["networks"]}

    assert on("ledger") == {"redis", "redis-exporter", "aggregator", "init", "operator", "export"}
    assert on("metrics") == {"redis-exporter", "prometheus"}
    assert on("broker") == {"rabbitmq", "aggregator", "evaluator", "prometheus", "operator", *CLIENTS}
    assert all(tuple(services()[name]["networks"]) == ("broker",) for name in (*CLIENTS, "evaluator"))
    networks = compose()["networks"]
    assert {name for name, network in networks.items() if network.get("internal")} == {"broker", "ledger", "metrics"}


@each
def test_everything_that_is_mounted_is_there(name, service):
    for volume in service.get("volumes", ()):
        if volume["type"] == "bind":
            assert Path(volume["source"]).exists()
            assert volume["read_only"]
        else:
            assert volume["source"] in compose()["volumes"]


@each
def test_every_file_of_a_setting_is_a_secret_that_is_mounted(name, service):
    mounted = {str(Path("/run/secrets", secret["target"])) for secret in service.get("secrets", ())}
    asked = {value for key, value in (service.get("environment") or {}).items() if key.endswith("_FILE")}
    assert asked <= mounted
    for secret in service.get("secrets", ()):
        assert Path(compose()["secrets"][secret["source"]]["file"]).exists()


def test_credentials_of_your_own_stand_in_for_all_of_the_published_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("CREDENTIALS", str(tmp_path))
    own = json.loads(tool("docker-compose", "--profile", "*", "config", "--format", "json"))["secrets"]
    published = DEPLOY / "compose" / "credentials"
    there = {name: Path(secret["file"]).relative_to(published) for name, secret in compose()["secrets"].items()}
    assert {name: Path(secret["file"]) for name, secret in own.items()} == {
        name: tmp_path / path for name, path in there.items()
    }


@pytest.mark.parametrize(("chosen", "kept"), [(None, False), ("true", True), ("false", False)])
def test_updates_are_archived_only_where_that_was_chosen(monkeypatch, chosen, kept):
    monkeypatch.delenv("ARCHIVE", raising=False)
    if chosen:
        monkeypatch.setenv("ARCHIVE", chosen)
    told = json.loads(tool("docker-compose", "--profile", "*", "config", "--format", "json"))["services"]
    said = {name: (service.get("environment") or {}).get(f"{PREFIX}ARCHIVE") for name, service in told.items()}
    archives = {name: DoctorSettings(archive=archive).archive for name, archive in said.items()}
    assert {name: archive for name, archive in archives.items() if archive is not None} == {
        "aggregator": kept,
        "operator": kept,
    }


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_has_a_name_data_state_and_credentials_of_its_own(name):
    client = services()[name]
    assert client["environment"]["FEDKSEED_CLIENT_ID"] == name
    assert client["command"] == ["client", "--data", f".cache/clients/{name}.jsonl"]
    assert {volume["source"] for volume in client["volumes"]} == {"model", name}
    (secret,) = client["secrets"]
    url = Path(compose()["secrets"][secret["source"]]["file"]).read_text()
    assert url.startswith(f"amqp://{name}:")


def test_the_clients_are_those_of_the_example_and_enough_for_its_cohort():
    example = federation.load(EXAMPLE)
    rows = [{"text": "a", "label": i % 2} for i in range(100)]
    assert tuple(data.partition(rows, example.data.partition)) == CLIENTS
    assert example.rounds.cohort <= len(CLIENTS)
    assert example.rounds.participation == 1
    ours = [service for service in services().values() if service["image"].startswith("fedkseed-")]
    named = {service["environment"]["FEDKSEED_FEDERATION"] for service in ours if "environment" in service}
    assert named == {example.name}


def test_every_command_is_one():
    for service in services().values():
        if service["image"].startswith("fedkseed-") and service.get("command") and service.get("entrypoint") is None:
            assert service["command"][0] in SUBCOMMANDS


def test_two_aggregators_run():
    assert services()["aggregator"]["deploy"]["replicas"] == 2


def test_redis_writes_everything_down_and_forgets_nothing():
    settings = dict(
        line.split(maxsplit=1)
        for line in (DEPLOY / "redis" / "redis.conf").read_text().splitlines()
        if line[:1] not in ("", "#")
    )
    assert (settings["appendonly"], settings["appendfsync"], settings["maxmemory-policy"]) == ("yes", "always", "noeviction")
    assert settings["dir"] in {volume["target"] for volume in services()["redis"]["volumes"]}
