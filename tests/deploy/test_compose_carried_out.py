"""docker-compose.yml is carried out as it is written, without containers, until the federation has made three versions.

What is carried out, what is replaced and what cannot be had without containers: tests/composed.py, tests/containers.py. The
model is the one of the example; what `make test` has prepared in `.cache` is in the volume `model` when `prepare` begins.
"""

import json
import signal
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from deploy.grafana.answers import Prometheus
from tests.composed import NotCarriedOutError, read
from tests.composition import NOT_STARTED, Composition
from tests.containers import GIVEN, Container
from tests.deployment import DEPLOY, compose
from tests.images import image
from tests.pages import ROOT

VERSIONS = 3
PREPARED = ("downloads", "smollm2-135m", "shakespeare.txt", "sentiment", "support.safetensors")
SERVING = ("aggregator-1", "aggregator-2", "client-1", "client-2", "client-3", "evaluator")
UNTIL_THE_END = ("client-1", "client-2", "client-3", "evaluator")  # of training
SERVERS = ("prometheus", "rabbitmq", "redis-exporter", "redis")
JOBS = {
    "fedkseed-aggregator": 2,
    "fedkseed-client": 3,
    "fedkseed-evaluator": 1,
    "redis": 1,
    "rabbitmq": 1,
    "rabbitmq-queues": 1,
}
ENDED_BY = {"redis-exporter": -signal.SIGTERM}  # it waits for nothing
KILLED = ("aggregator-2", "evaluator")  # when the first version is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the system says of a process."""

    words: tuple[str, ...]
    environment: dict[str, str]
    peak_bytes: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of it, from the beginning to the end."""

    containers: dict[str, Container]
    processes: dict[str, Process]  # of those that serve, when the last version was there
    checks: dict[str, CompletedProcess[str]]  # at the same time
    up: dict[str, list[float]]  # by job, at the same time
    version: float  # that Prometheus knows
    redis_up: float  # whether its exporter reaches it
    status: CompletedProcess[str]
    closed: CompletedProcess[str]
    exported: CompletedProcess[str]
    codes: dict[str, int | None]  # of those that ended by themselves, and of aggregators that were asked to
    volumes: dict[str, set[str]]  # what is in them in the end


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Iterator[Seen]:
    """Three versions, with an aggregator and the evaluator killed on the way; then training is closed, and everybody ends."""
    composition = Composition(read(compose()), tmp_path_factory.mktemp("compose"))
    warm(composition.volumes / "model")
    containers = composition.containers
    prometheus = Prometheus(f"http://{containers['prometheus'].address(9090)}")

    def knows(version: int) -> bool:
        return bool(containers["prometheus"].starts and answers(prometheus, f"max(fedkseed_version) >= {version}"))

    checks: dict[str, CompletedProcess[str]] = {}

    def healthy() -> bool:
        for name, one in containers.items():
            if one.service.check and (name not in checks or checks[name].returncode != 0):
                checks[name] = one.look()
        return all(check.returncode == 0 for check in checks.values())

    try:
        composition.until(lambda: knows(1))
        for name in KILLED:
            containers[name].program.kill()
        composition.until(lambda: knows(VERSIONS) and not answers(prometheus, "up == 0"))
        composition.until(healthy)
        facts = {
            "processes": {name: process(containers[name].program.pid) for name in SERVING},
            "checks": checks,
            "up": {job: [number for one in prometheus.now(f'up{{job="{job}"}}') for number in one.numbers] for job in JOBS},
            "version": prometheus.now("max(fedkseed_version)")[0].numbers[0],
            "redis_up": prometheus.now("redis_up")[0].numbers[0],
            "status": composition.run("operator", "status", "--json"),
            "closed": composition.run("operator", "close"),
        }
        composition.until(lambda: all(containers[name].code is not None for name in UNTIL_THE_END))
        codes = {name: one.code for name, one in containers.items() if one.code is not None}
        exported = composition.run("export", "--best", "accuracy", "--out", "/exports/tuned")
        codes |= composition.stop("aggregator-1", "aggregator-2", *SERVERS)
        volumes = {path.name: contents(path) for path in composition.volumes.iterdir()}
        yield Seen(containers=containers, codes=codes, exported=exported, volumes=volumes, **facts)
    finally:
        composition.kill()


def warm(model: Path) -> None:
    """Put into a volume what is prepared already; `prepare` makes the rest."""
    model.mkdir(exist_ok=True)
    for name in PREPARED:
        if (ROOT / ".cache" / name).exists():
            (model / name).symlink_to((ROOT / ".cache" / name).resolve())


def contents(volume: Path) -> set[str]:
    """What is in a volume, and in the folders of its first level; a model that was exported is large, and does not stay."""
    found = {str(path.relative_to(volume)) for path in (*volume.iterdir(), *volume.glob("*/*"))}
    (volume / "tuned" / "model.safetensors").unlink(missing_ok=True)
    return found


def answers(prometheus: Prometheus, expr: str) -> bool:
    try:
        return bool(prometheus.now(expr))
    except OSError:  # it does not listen yet
        return False


def process(pid: int) -> Process:
    at = Path("/proc", str(pid))
    status = dict(line.split(":\t", 1) for line in (at / "status").read_text().splitlines())
    variables = (at / "environ").read_text().split("\0")[:-1]
    return Process(
        words=tuple((at / "cmdline").read_text().split("\0")[:-1]),
        environment=dict(variable.split("=", 1) for variable in variables),
        peak_bytes=int(status["VmHWM"].split()[0]) * 1024,
        threads=int(status["Threads"]),
    )


def written(name: str) -> dict:
    """What the file says of a container's service, as Compose gives it."""
    services = compose()["services"]
    return services.get(name) or services[name.rpartition("-")[0]]


each_serving = pytest.mark.parametrize("name", SERVING)


def test_everybody_is_started_but_those_who_are_run_when_asked(seen):
    services = {one.service.name for one in seen.containers.values()}
    assert services == compose()["services"].keys() - NOT_STARTED - {"operator", "export"}
    assert {name for name, one in seen.containers.items() if not one.starts} == set()
    assert {*SERVING, *SERVERS, "prepare", "init"} == seen.containers.keys()


@pytest.mark.parametrize("name", [*SERVING, *SERVERS])
def test_every_health_check_passes_as_it_is_written(seen, name):
    assert written(name)["healthcheck"]["test"][1:]
    assert seen.checks[name].returncode == 0, seen.checks[name].stderr
    assert name not in SERVING or seen.checks[name].stdout == "ready\n"


def test_prometheus_reaches_every_service_and_knows_the_version(seen):
    assert seen.up == {job: [1.0] * targets for job, targets in JOBS.items()}
    assert seen.version >= VERSIONS
    assert seen.redis_up == 1


def test_an_operator_sees_the_federation(seen):
    assert (seen.status.returncode, seen.status.stderr) == (0, "")
    status = json.loads(seen.status.stdout)
    assert status["federation"] == "sentiment-three"
    assert status["version"] >= VERSIONS
    assert status["clients"].keys() == {"client-1", "client-2", "client-3"}
    assert all(commit["members"] for commit in status["commits"])


def test_who_is_killed_comes_back_and_nobody_else_ends(seen):
    assert {name: one.starts for name, one in seen.containers.items()} == {
        name: 2 if name in KILLED else 1 for name in seen.containers
    }


def test_everybody_ends_in_order(seen):
    """One-shots, then clients and evaluator when training is over, then who is asked to; nobody of them is started again."""
    assert (seen.closed.returncode, seen.closed.stderr) == (0, "")
    assert seen.codes == dict.fromkeys(seen.codes, 0) | ENDED_BY
    assert seen.codes.keys() == seen.containers.keys()


@each_serving
def test_a_process_has_every_variable_of_the_file_and_of_its_image_and_no_other(seen, name):
    one, ours = seen.containers[name], written(name)["environment"]
    found = {key: as_written(value, one) for key, value in seen.processes[name].environment.items() if key not in GIVEN}
    assert ours.items() <= found.items()
    assert found.keys() - ours.keys() == image(one.service.stage).environment.keys() - ours.keys()


def as_written(value: str, one: Container) -> str:
    """A value with both replacements taken back."""
    return value.replace(str(one.folder), "").replace(one.address(9464), "0.0.0.0:9464")


@each_serving
def test_a_process_has_the_command_of_the_file(seen, name):
    program, *words = seen.processes[name].words[1:]
    assert Path(program).name == "fedkseed"
    assert words == written(name)["command"]


@each_serving
def test_a_process_stays_within_the_bounds_of_its_container(seen, name):
    assert seen.processes[name].peak_bytes < int(written(name)["mem_limit"])
    assert seen.processes[name].threads < written(name)["pids_limit"]


def test_nobody_writes_where_a_container_cannot(seen):
    """Nothing is new outside volumes and /tmp but the log; and in the volume of the model there is what `prepare` makes."""
    new = {name: one.contents() - one.laid_out - {"log", "fedkseed/log"} for name, one in seen.containers.items()}
    assert new == {name: set() for name in new}
    assert {path for path in seen.volumes["model"] if "/" not in path} == {*PREPARED, "clients"}


def test_the_best_model_can_be_exported(seen):
    assert (seen.exported.returncode, seen.exported.stderr) == (0, "")
    assert {"tuned/config.json", "tuned/model.safetensors", "tuned/tokenizer.json"} <= seen.volumes["exports"]


def test_a_secret_is_a_file_of_which_only_the_address_is_replaced(seen):
    for one in seen.containers.values():
        for secret in one.service.secrets:
            here, there = one.place(secret.target).read_text(), Path(str(secret.source)).read_text()
            for server, port in (("rabbitmq", 5672), ("redis", 6379)):
                here = here.replace(seen.containers[server].address(port), f"{server}:{port}")
            assert here == there


def test_prometheus_is_told_addresses_for_names_and_nothing_else(tmp_path):
    one = Composition(read(compose()), tmp_path).containers["prometheus"]
    here = yaml.safe_load(one.place("/etc/prometheus/prometheus.yml").read_text().replace(str(one.folder), ""))
    there = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    told = {job["job_name"]: len(job.pop("static_configs")[0]["targets"]) for job in here["scrape_configs"]}
    for job in there["scrape_configs"]:
        assert job.pop("dns_sd_configs", None) or job.pop("static_configs", None)
    assert here == there
    assert told == JOBS


def test_rabbitmq_has_every_setting_and_plugin_of_the_file(seen):
    node = seen.containers["rabbitmq"].place("/var/lib/rabbitmq")
    place = seen.containers["rabbitmq"].place("/etc/rabbitmq")
    settings = {line for line in (place / "rabbitmq.conf").read_text().splitlines() if line[:1] not in ("", "#")}
    assert settings < set((node / "rabbitmq.conf").read_text().splitlines())
    assert (node / "plugins").read_text() == (place / "enabled_plugins").read_text()


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ((), "configs", {}),
        (("services", "aggregator"), "sysctls", {}),
        (("services", "aggregator", "deploy"), "mode", "global"),
        (("services", "aggregator", "healthcheck"), "start_later", "1s"),
        (("services", "client-1", "depends_on", "init"), "restart", True),
        (("services", "client-1", "depends_on", "init"), "condition", "service_started"),
        (("services", "client-1", "secrets", 0), "mode", "0400"),
        (("services", "client-1", "volumes", 0), "type", "tmpfs"),
        (("services", "client-1"), "restart", "always"),
        (("services", "evaluator", "environment"), "HOME", None),
        (("volumes", "model"), "driver", "nfs"),
        (("secrets", "client-1-amqp-url"), "external", True),
    ],
)
def test_what_nobody_carries_out_is_refused(where, key, value):
    changed = place = deepcopy(compose())
    for step in where:
        place = place[step]
    place[key] = value
    with pytest.raises(NotCarriedOutError):
        read(changed)


def test_a_service_knows_nobody_with_whom_it_shares_no_network(tmp_path):
    composition = Composition(read(compose()), tmp_path)
    with pytest.raises(AssertionError, match="client-1 does not know redis"):
        composition.containers["client-1"].here("redis://redis:6379/0")
