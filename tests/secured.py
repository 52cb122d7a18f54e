"""Servers that are reached by TLS alone, with a client's certificate; their plain ports are for whoever starts them."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from fedkseed_local.servers import LOOPBACK, RedisServer, free_port
from tests.authority import Authority, Certified
from tests.rabbits import OperatedRabbit
from tests.servers import running


class SecuredRabbit(OperatedRabbit):
    """A node with the operator's HTTP interface, and a port for TLS."""

    def __init__(self, folder: Path, authority: Authority, own: Certified) -> None:
        self.tls_port = free_port()
        settings = {
            "listeners.ssl.1": f"{LOOPBACK}:{self.tls_port}",
            "ssl_options.cacertfile": str(authority.file),
            "ssl_options.certfile": str(own.certificate),
            "ssl_options.keyfile": str(own.key),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
            "management_agent.disable_metrics_collector": "false",
        }
        super().__init__(folder, settings)

    def tls_url(self, user: str, password: str, vhost: str = "/") -> str:
        return f"amqps://{user}:{password}@{LOOPBACK}:{self.tls_port}/{quote(vhost, safe='')}"


class SecuredRedis(RedisServer):
    """A Redis with a port for TLS."""

    def __init__(self, folder: Path, authority: Authority, own: Certified, settings: dict[str, str] | None = None) -> None:
        self.tls_port = free_port()
        secured = {
            "tls-port": str(self.tls_port),
            "tls-auth-clients": "yes",
            "tls-ca-cert-file": str(authority.file),
            "tls-cert-file": str(own.certificate),
            "tls-key-file": str(own.key),
        }
        super().__init__(folder, secured | (settings or {}))

    def tls_url(self, user: str = "", password: str = "") -> str:
        login = f"{user}:{password}@" if user else ""
        return f"rediss://{login}{LOOPBACK}:{self.tls_port}/0"


@contextmanager
def presenting(own: Certified) -> Iterator[int]:
    """The port of somebody who shows a certificate to whoever comes, and says nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # closed
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def secured_rabbit(authority, tmp_path_factory) -> Iterator[SecuredRabbit]:
    with running(SecuredRabbit(tmp_path_factory.mktemp("rabbitmq"), authority, authority.certify("rabbitmq"))) as server:
        yield server


@pytest.fixture(scope="session")
def secured_redis(authority, tmp_path_factory) -> Iterator[SecuredRedis]:
    with running(SecuredRedis(tmp_path_factory.mktemp("redis"), authority, authority.certify("redis"))) as server:
        yield server
