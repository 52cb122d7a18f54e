"""TLS as deploy/kubernetes/overlays/production has it, with the programs of this machine: arguments, settings, probes.

Replaced are folders, ports and addresses. The certificates are for the usages that the manifests ask for.
"""

import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fedkseed.errors import BrokerError, BrokerUntrusted, LedgerUntrusted
from fedkseed.ledger.connection import Connection
from fedkseed.tls import Tls
from fedkseed.transport.line import Server as Address
from fedkseed.transport.line import dial
from fedkseed_cli import credentials
from fedkseed_local.program import Server, find
from fedkseed_local.servers import AMQP, LOOPBACK, METHOD, RabbitServer, ask, free_port
from tests.authority import Authority
from tests.containers import SYSTEM
from tests.deployment import of_kind, pods
from tests.servers import running
from tests.watching import RedisExporter, fetch

ROLES = ("rabbitmq", "redis", "aggregator", "client", "evaluator", "operator", "monitor")


def container(name: str) -> dict:
    """Of a pod in production."""
    (found,) = (template for _, pod, template in pods("production") if pod == name)
    return found["spec"]["containers"][0]


def variables(name: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(name)["env"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder for each role with what cert-manager puts into its Secret, and the credentials of all in `made`."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "authority")
    asked = {manifest["metadata"]["name"]: manifest["spec"] for manifest in of_kind("production", "Certificate")}
    for role in ROLES:
        (folder / role).mkdir()
        usages = [usage for usage in asked[role]["usages"] if usage.endswith("auth")]
        certified = authority.certify(role, usages=usages)
        for source, name in ((authority.file, "ca.crt"), (certified.certificate, "tls.crt"), (certified.key, "tls.key")):
            shutil.copy(source, folder / role / name)
    credentials.make("sentiment-three", ("client-1",), folder / "made", "fedkseed", amqps=True, rediss=True)
    return folder


def tls(folder: Path, role: str) -> Tls:
    return Tls(authority=folder / role / "ca.crt", certificate=folder / role / "tls.crt", key=folder / role / "tls.key")


def plainly(port: int, question: bytes) -> bytes:
    """What a server answers who is asked without TLS; nothing where it hangs up."""
    try:
        return ask(port, question)
    except ConnectionResetError:
        return b""


class Store(Server):
    """Redis as its pod starts it; it is there when its probe says so."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        home = folder / "redis"
        (configuration,) = (one for one in of_kind("production", "ConfigMap") if "redis.conf" in one["data"])
        shutil.copy(folder / "made" / "redis" / "users.acl", home)
        (home / "redis.conf").write_text(self.here(configuration["data"]["redis.conf"]), encoding="utf-8")
        client = home / "redis-cli"  # one that knows the port
        client.write_text(f'#!/bin/sh\nPATH={SYSTEM} exec redis-cli -p {self.port} "$@"\n', encoding="utf-8")
        client.chmod(0o755)
        program, *arguments = (self.here(word) for word in container("redis")["args"])
        super().__init__([find(program), *arguments, "--bind", LOOPBACK], folder / "redis.log", {"PATH": SYSTEM})

    def here(self, text: str) -> str:
        """With folders and the port of this machine."""
        home = str(self._folder / "redis")
        for path in ("/run/secrets/tls", "/etc/redis", "/data"):
            text = text.replace(path, home)
        return text.replace("6379", str(self.port))

    def probe(self, kind: str, **environment: str) -> int:
        """Ask as the kubelet does."""
        given = {name: self.here(value) for name, value in variables("redis").items()} | environment
        command = container("redis")[kind]["exec"]["command"]
        path = f"{self._folder / 'redis'}:{SYSTEM}"
        return subprocess.run(command, env={"PATH": path, **given}, capture_output=True, check=False).returncode

    def ready(self) -> bool:
        return self.probe("readinessProbe") == 0

    def url(self, user: str) -> str:
        made = (self._folder / "made" / user / "redis-url").read_text(encoding="utf-8").strip()
        return made.replace("@redis.fedkseed.svc:6379", f"@{LOOPBACK}:{self.port}")


class Member(RabbitServer):
    """RabbitMQ with the settings of the cluster, after those of its operator for TLS: internal/resource/configmap.go."""

    def __init__(self, folder: Path) -> None:
        self._tls, self.tls_port, self.metrics_port = folder / "rabbitmq", free_port(), free_port()
        (cluster,) = (manifest["spec"] for manifest in of_kind("production", "RabbitmqCluster"))
        assert cluster["tls"]["disableNonTLSListeners"]
        written = dict(line.split(" = ") for line in cluster["rabbitmq"]["additionalConfig"].splitlines())
        files = {"cacertfile": "ca.crt", "certfile": "tls.crt", "keyfile": "tls.key"}
        places = ("ssl_options", "prometheus.ssl")
        settings = {f"{place}.{key}": str(self._tls / name) for place in places for key, name in files.items()}
        settings |= {"listeners.ssl.1": f"{LOOPBACK}:{self.tls_port}", "ssl_options.verify": "verify_peer"}
        settings |= {"prometheus.ssl.ip": LOOPBACK, "prometheus.ssl.port": str(self.metrics_port)}
        settings |= written | {"load_definitions": str(folder / "made" / "rabbitmq" / "definitions.json")}
        super().__init__(folder / "rabbitmq", ("rabbitmq_prometheus",), settings)
        self._folder = folder
        del self._settings["listeners.tcp.1"]
        self._settings["listeners.tcp"] = "none"

    def at(self, role: str, file: str = "amqp-url") -> str:
        made = (self._folder / "made" / role / file).read_text(encoding="utf-8").strip()
        return made.replace("@rabbitmq.fedkseed.svc:5671", f"@{LOOPBACK}:{self.tls_port}")

    def ready(self) -> bool:
        try:
            with closing(dial(Address(self.at("operator"), "test", tls(self._folder, "operator")), 5.0)):
                return True
        except BrokerError:
            return False


@pytest.fixture(scope="module")
def store(folder) -> Iterator[Store]:
    with running(Store(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def member(folder) -> Iterator[Member]:
    with running(Member(folder)) as server:
        yield server


@pytest.mark.parametrize("kind", ["startupProbe", "readinessProbe"])
def test_a_probe_of_redis_passes_as_it_is_written_and_not_without_tls(store, kind):
    assert store.probe(kind) == 0
    assert store.probe(kind, TLS="") != 0


@pytest.mark.parametrize("user", ["aggregator", "operator"])
def test_redis_speaks_by_tls_with_who_has_a_certificate_and_with_nobody_else(store, folder, user):
    with closing(Connection(store.url(user), tls(folder, user))) as link:
        assert link.ask(("PING",)) == [b"PONG"]
    with pytest.raises(LedgerUntrusted, match="it asks for a client's certificate"):
        Connection(store.url(user), Tls(authority=folder / user / "ca.crt")).ask(("PING",))
    assert b"+PONG" not in plainly(store.port, b"PING\r\n")


def test_the_exporter_reaches_redis_with_the_variables_of_its_pod(store, folder):
    def here(text: str) -> str:
        replaced = text.replace("redis.fedkseed.svc:6379", f"{LOOPBACK}:{store.port}")
        return replaced.replace("/run/secrets/tls", str(folder / "monitor")).replace("/run/secrets/fedkseed", str(folder))

    passwords = folder / "made" / "monitor" / "redis-passwords.json"
    (folder / "redis-passwords.json").write_text(here(passwords.read_text(encoding="utf-8")), encoding="utf-8")
    told = {name: here(value) for name, value in variables("redis-exporter").items()}
    with running(RedisExporter(folder, told.pop("REDIS_ADDR"), told)) as exporter:
        assert "redis_aof_enabled 1" in fetch(exporter.address, "metrics")


@pytest.mark.parametrize(
    ("role", "file", "certificate"),
    [
        ("aggregator", "amqp-url", "aggregator"),
        ("clients", "client-1", "client"),
        ("evaluator", "amqp-url", "evaluator"),
        ("operator", "amqp-url", "operator"),
        ("monitor", "amqp-url", "monitor"),
    ],
)
def test_rabbitmq_lets_in_who_has_a_certificate_and_nobody_else(member, folder, role, file, certificate):
    url = member.at(role, file)
    with closing(dial(Address(url, "test", tls(folder, certificate)), 5.0)) as connection:
        assert connection.is_open
    with pytest.raises(BrokerUntrusted, match="it asks for a client's certificate"):
        dial(Address(url, "test", Tls(authority=folder / certificate / "ca.crt")), 5.0)


def test_rabbitmq_has_no_plain_port(member):
    assert not plainly(member.tls_port, AMQP).startswith(METHOD)
    with pytest.raises(ConnectionRefusedError):
        ask(member.port, AMQP)


def test_prometheus_reads_what_rabbitmq_says_of_itself_by_tls_alone(member, folder):
    trusting = ssl.create_default_context(cafile=folder / "monitor" / "ca.crt")
    with urllib.request.urlopen(f"https://{LOOPBACK}:{member.metrics_port}/metrics", context=trusting) as page:
        assert b"rabbitmq_connections" in page.read()
    assert b"HTTP" not in plainly(member.metrics_port, b"GET /metrics HTTP/1.0\r\n\r\n")
