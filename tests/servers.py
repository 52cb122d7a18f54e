"""Private servers for tests: each in a folder of its own, on a free loopback port, gone with the test.

A missing server program is an error, never a reason to skip.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedkseed_local.program import Server
from fedkseed_local.servers import RedisServer, ask


def freeze(server: Server) -> None:
    """Stop its clock; its sockets stay open."""
    os.kill(server.pid, signal.SIGSTOP)


def thaw(server: Server) -> None:
    """Let it go on."""
    os.kill(server.pid, signal.SIGCONT)


def clear(server: RedisServer) -> None:
    """Forget everything."""
    assert ask(server.port, b"FLUSHALL\r\n").startswith(b"+OK")


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and end it with the test."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for tests that leave it running and bring a clean slate themselves."""
    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, to do anything to."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with running(RedisServer(folder)) as server:
        yield server
