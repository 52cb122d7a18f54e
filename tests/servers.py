"""Private servers for tests: each in a folder of its own, on a free loopback port, gone with the test.

A missing server program is an error, never a reason to skip. Waiting for a server is asking it again and again, with the
end of its process as the other way out.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS_TO_START = 60.0
PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/bin", "/usr/lib/rabbitmq/bin"))


class CannotStart(Exception):
    """A server is missing or does not come up; its log says why."""


def program(name: str) -> str:
    """The path of a server program that a package has installed."""
    if (path := shutil.which(name, path=PLACES)) is None:
        raise CannotStart(f"{name} is not installed, and tests do not run without it")
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server process that can be killed and started again on what it has written.

    A kind of server says how it is started (`command`), and when it is ready (`ready`).

    Args:
        folder: for its files; it keeps them from one start to the next.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it answers; may raise OSError when it does not listen yet."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            if self._ended(within=0.01) or time.monotonic() > until:
                self.kill()
                raise CannotStart(f"{self.command()[0]}: " + (self.folder / "log").read_text(errors="replace")[-2000:])

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop its clock; its sockets stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it, and start it again on what it has written."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait(SECONDS_TO_START)
            self._process = None

    def _answers(self) -> bool:
        try:
            return self.ready()
        except OSError:
            return False

    def _ended(self, within: float) -> bool:
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True


class RedisServer(Server):
    """A Redis that has every write on disk before it answers.

    Args:
        folder: see Server.
        password: what it asks for, if anything.
    """

    def __init__(self, folder: Path, password: str = "") -> None:
        super().__init__(folder)
        self._password = password

    @property
    def url(self) -> str:
        return f"redis://{f':{self._password}@' if self._password else ''}127.0.0.1:{self.port}/0"

    @property
    def written(self) -> int:
        """Bytes in its append-only files."""
        return sum(file.stat().st_size for file in (self.folder / "appendonlydir").iterdir())

    def command(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "requirepass": self._password,
        }
        return [program("redis-server"), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def ready(self) -> bool:
        return self._ask(b"PING").startswith((b"+PONG", b"-NOAUTH"))  # not while it loads its files

    def clear(self) -> None:
        """Forget everything."""
        assert self._ask(b"FLUSHALL").startswith(b"+OK")

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS_TO_START) as connection:
            connection.sendall(command + b"\r\n")
            return connection.recv(64)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for tests that leave it running and bring a clean slate themselves."""
    yield from _running(RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, to do anything to."""
    folder = tmp_path / "redis"
    folder.mkdir()
    yield from _running(RedisServer(folder))


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()
