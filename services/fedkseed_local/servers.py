"""Servers of a federation's own: RabbitMQ and Redis from the installed packages, on free loopback ports.

Each keeps its files in a folder, from one start to the next. Nobody but this machine reaches them; on it, whoever knows
the port does.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from random import SystemRandom
from urllib.parse import quote

from fedkseed.errors import CannotStart
from fedkseed_local.program import SECONDS_TO_START, Program, Server, find

LOOPBACK = "127.0.0.1"
AMQP = b"AMQP\x00\x00\x09\x01"  # how a client says hello
METHOD = b"\x01"  # how an answer begins that is not a refusal
GUEST = "guest"
PORTS = range(20_000, 30_000)  # below what systems give to who names no port, from 32768 or above, and Kubernetes' node ports
_drawn = cycle(SystemRandom().sample(PORTS, len(PORTS)))


def free_port() -> int:
    """A port that nobody listens on; it stays free until a server comes, or comes back, as the system gives it to nobody.

    Raises:
        CannotStart: there is none.
    """
    for port in islice(_drawn, len(PORTS)):
        with socket.socket() as listener, suppress(OSError):
            listener.bind((LOOPBACK, port))
            return port
    raise CannotStart(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def ask(port: int, question: bytes) -> bytes:
    """The beginning of a server's answer."""
    with socket.create_connection((LOOPBACK, port), timeout=SECONDS_TO_START) as connection:
        connection.sendall(question)
        return connection.recv(64)


class RedisServer(Server):
    """A Redis that has every write on disk before it answers.

    Args:
        folder: for its files; must exist.
        settings: beside those that a ledger needs.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder, self.port = folder, free_port()
        needed = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        options = [part for name, value in {**needed, **(settings or {})}.items() for part in (f"--{name}", value)]
        super().__init__([find("redis-server"), *options], folder / "log", os.environ)

    @property
    def url(self) -> str:
        """Where it is, as FEDKSEED_REDIS_URL has it."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def ready(self) -> bool:
        """Whether it has loaded its files; one that asks for a password has."""
        return ask(self.port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))


class RabbitServer(Server):
    """A RabbitMQ node with one user, `guest`; Erlang's distribution and its mapper have loopback ports of their own.

    Args:
        folder: for its files; must exist.
        plugins: to enable.
        settings: of rabbitmq.conf, beside its listener.
    """

    def __init__(self, folder: Path, plugins: tuple[str, ...] = (), settings: Mapping[str, str] | None = None) -> None:
        self.folder, self.port = folder, free_port()
        mapper_port = str(free_port())
        self._plugins, self._settings = plugins, {"listeners.tcp.1": f"{LOOPBACK}:{self.port}", **(settings or {})}
        mapper = [find("epmd"), "-address", LOOPBACK, "-port", mapper_port]
        self._mapper = Program(mapper, folder / "epmd.log", os.environ)
        self.environment = {
            **os.environ,
            "HOME": str(folder),  # for its cookie
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": mapper_port,
            "RABBITMQ_NODENAME": "fedkseed@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),  # there is none, nor the next one
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RUNNING_UNDER_SYSTEMD": "true",  # the process is the node itself, without a shell around it
        }
        super().__init__([script("rabbitmq-server")], folder / "log", self.environment)

    def url(self, vhost: str = "/", *, user: str = GUEST, password: str = GUEST, port: int | None = None) -> str:
        """Where it is, as FEDKSEED_AMQP_URL has it."""
        return f"amqp://{user}:{password}@{LOOPBACK}:{port or self.port}/{quote(vhost, safe='')}"

    def start(self) -> None:
        """See Server."""
        (self.folder / "plugins").write_text(f"[{','.join(self._plugins)}].\n", encoding="utf-8")
        lines = (f"{name} = {value}\n" for name, value in self._settings.items())
        (self.folder / "rabbitmq.conf").write_text("".join(lines), encoding="utf-8")
        self._mapper.start()
        super().start()

    def stop(self) -> int | None:
        """See Program."""
        code = super().stop()
        self._mapper.kill()
        return code

    def kill(self) -> int | None:
        """See Program."""
        code = super().kill()
        self._mapper.kill()
        return code

    def ready(self) -> bool:
        """Whether it speaks with clients, which a node does once it has started in full."""
        return ask(self.port, AMQP).startswith(METHOD)


def script(name: str) -> str:
    """A script of RabbitMQ's own folder: those in PATH insist on a user and a node of the machine's own.

    Raises:
        CannotStart: it is not installed.
    """
    return find(f"/usr/lib/rabbitmq/bin/{name}")
