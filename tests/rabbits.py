"""A private RabbitMQ node for tests, and what its operator can do to it.

Everything of it is on loopback ports of its own: AMQP, the operator's HTTP interface, Erlang's distribution and its mapper.
"""

import base64
import json
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers import SECONDS_TO_START, CannotStart, Server, free_port, program

SCRIPTS = "/usr/lib/rabbitmq/bin"  # those in PATH insist on a user and a node of the machine's own
USER = "guest"


class RabbitServer(Server):
    """A node with one user, `guest`; each test has a virtual host of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._operator_port, self._distribution_port, self._mapper_port = free_port(), free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        self._vhosts = count()

    def url(self, vhost: str, *, user: str = USER, password: str = USER, port: int | None = None) -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{port or self.port}/{quote(vhost, safe='')}"

    def start(self) -> None:
        mapper = [program("epmd"), "-address", "127.0.0.1", "-port", str(self._mapper_port)]
        self._mapper = subprocess.Popen(mapper, stdin=subprocess.DEVNULL)
        super().start()

    def command(self) -> list[str]:
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self._operator_port}\n"
            "management_agent.disable_metrics_collector = true\n"
        )
        return ["env", *self._environment(), script("rabbitmq-server")]

    def ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port)):
            return bool(self.ask("GET", "vhosts"))

    def ask(self, method: str, path: str, body: object = None) -> object:
        """Have the operator's interface do something."""
        secret = base64.b64encode(f"{USER}:{USER}".encode()).decode()
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
        command = ["env", *self._environment(), script("rabbitmqctl"), *words]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS_TO_START)

    def add_vhost(self) -> str:
        """A virtual host with a name that no other one has."""
        name = f"test/{next(self._vhosts)}"
        self.ask("PUT", f"vhosts/{quote(name, safe='')}")
        self.permit(name, USER)
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

    def _environment(self) -> list[str]:
        settings = {
            "HOME": self.folder,  # for its cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": self._mapper_port,
            "RABBITMQ_NODENAME": "fedkseed@localhost",
            "RABBITMQ_DIST_PORT": self._distribution_port,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": self.folder / "mnesia",
            "RABBITMQ_LOG_BASE": self.folder / "logs",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "plugins",
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.folder / "advanced.config",  # there is none, nor the next one
            "RABBITMQ_CONF_ENV_FILE": self.folder / "environment",
            "RUNNING_UNDER_SYSTEMD": "true",  # the process is the node itself, without a shell around it
        }
        return [f"{name}={value}" for name, value in settings.items()]

    def _end(self, how: signal.Signals) -> None:
        super()._end(how)
        if self._mapper:
            self._mapper.kill()
            self._mapper.wait(SECONDS_TO_START)
            self._mapper = None


def script(name: str) -> str:
    if (path := shutil.which(name, path=SCRIPTS)) is None:
        raise CannotStart(f"{name} is not in {SCRIPTS}: rabbitmq-server is not installed, and tests do not run without it")
    return path


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A node for all tests; a test that stops it starts it again."""
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def vhost(rabbit) -> str:
    """A virtual host with nothing in it; it stays, because RabbitMQ 3.10 may stumble over queues that are deleted in haste."""
    return rabbit.add_vhost()
