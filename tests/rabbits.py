"""A private RabbitMQ node for tests, and what its operator can do to it; each test has a virtual host of its own."""

import base64
import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from fedkseed_local.program import SECONDS_TO_START
from fedkseed_local.servers import GUEST, LOOPBACK, RabbitServer, free_port, script
from tests.servers import running


class OperatedRabbit(RabbitServer):
    """A node with the operator's HTTP interface."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._operator_port = free_port()
        its_own = {
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(self._operator_port),
            "management_agent.disable_metrics_collector": "true",
        }
        super().__init__(folder, ("rabbitmq_management",), its_own | dict(settings or {}))
        self._vhosts = count()

    def ready(self) -> bool:
        return super().ready() and bool(self.ask("GET", "vhosts"))

    @property
    def operator_url(self) -> str:
        return f"http://{GUEST}:{GUEST}@{LOOPBACK}:{self._operator_port}"

    def ask(self, method: str, path: str, body: object = None) -> object:
        """Have the operator's interface do something."""
        secret = base64.b64encode(f"{GUEST}:{GUEST}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._operator_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=SECONDS_TO_START) as reply:
            return json.loads(reply.read() or b"null")

    def control(self, *words: str) -> None:
        """Have `rabbitmqctl` do something."""
        command = [script("rabbitmqctl"), *words]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS_TO_START, env=self.environment)

    def add_vhost(self) -> str:
        """A virtual host with a name that no other one has."""
        name = f"test/{next(self._vhosts)}"
        self.ask("PUT", f"vhosts/{quote(name, safe='')}")
        self.permit(name, GUEST)
        return name

    def add_user(self, name: str) -> None:
        """The password is the name."""
        self.ask("PUT", f"users/{name}", {"password": name, "tags": ""})

    def remove_user(self, name: str) -> None:
        """Its connections are closed."""
        self.ask("DELETE", f"users/{name}")

    def permit(self, vhost: str, user: str, *, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        rights = {"configure": configure, "write": write, "read": read}
        self.ask("PUT", f"permissions/{quote(vhost, safe='')}/{user}", rights)

    def remove_queue(self, vhost: str, name: str) -> None:
        self.ask("DELETE", f"queues/{quote(vhost, safe='')}/{name}")


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedRabbit]:
    """A node for all tests; a test that stops it starts it again."""
    with running(OperatedRabbit(tmp_path_factory.mktemp("rabbitmq"))) as server:
        yield server


@pytest.fixture
def vhost(rabbit) -> str:
    """A virtual host with nothing in it; it stays, because RabbitMQ 3.10 may stumble over queues that are deleted in haste."""
    return rabbit.add_vhost()
