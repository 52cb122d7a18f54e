"""What a service answers on its port, and how it is asked."""

import json
import select
import socket
import threading
import urllib.request
from contextlib import suppress
from http import HTTPStatus

import pytest

from fedkseed import endpoint
from fedkseed.endpoint import Endpoint, Health, ask, split
from fedkseed.errors import FedkseedError, SettingError
from fedkseed_local.servers import free_port


class Service:
    """A service that turns or not, and lacks what a test wants."""

    def __init__(self):
        self.turns, self.lacks = True, []
        self.health = Health(lambda _: self.turns)
        self.health.needs(lambda: self.lacks)
        self.health.needs(tuple)
        self.listen = f"127.0.0.1:{free_port()}"
        self.endpoint = Endpoint(self.listen, self.health, lambda: ("text/plain; version=1", b"metric 1\n"))


@pytest.fixture
def service():
    service = Service()
    yield service
    service.endpoint.close()


def test_metrics_are_answered_over_http(service):
    with urllib.request.urlopen(f"http://{service.listen}/metrics?name=x") as answer:
        assert (answer.headers["Content-Type"], answer.read()) == ("text/plain; version=1", b"metric 1\n")


def test_what_is_missing_is_said(service):
    service.lacks = ["no version of the ledger is held yet"]
    status, kind, body = service.endpoint.page("/readyz")
    assert (status, kind) == (HTTPStatus.SERVICE_UNAVAILABLE, "application/json")
    assert json.loads(body) == {"ready": False, "missing": ["no version of the ledger is held yet"]}
    with pytest.raises(FedkseedError, match=r"^not ready: no version of the ledger is held yet$"):
        ask(service.listen)


def test_a_service_that_lacks_nothing_is_ready(service):
    assert service.endpoint.page("/readyz")[0] == HTTPStatus.OK
    ask(service.listen)


def test_a_loop_that_does_not_turn_is_dead_unless_it_waits_for_a_server(service):
    assert service.endpoint.page("/healthz")[0] == HTTPStatus.OK
    service.turns = False
    assert service.endpoint.page("/healthz")[0] == HTTPStatus.SERVICE_UNAVAILABLE
    service.health.tried()
    assert service.endpoint.page("/healthz")[0] == HTTPStatus.OK


def test_another_path_is_not_found(service):
    assert service.endpoint.page("/")[0] == HTTPStatus.NOT_FOUND


def test_a_port_that_is_taken_is_a_setting_at_fault(service):
    with pytest.raises(SettingError, match=f"^FEDKSEED_METRICS_LISTEN: cannot listen on {service.listen}: "):
        Endpoint(service.listen, service.health, lambda: ("", b""))


def test_nobody_is_not_ready():
    port = free_port()
    with pytest.raises(FedkseedError, match=f"^nobody answers at 127.0.0.1:{port}: "):
        ask(f"0.0.0.0:{port}")


def test_an_endpoint_that_is_closed_leaves_no_thread(service):
    other = Service()
    assert sum(thread.name == "endpoint" for thread in threading.enumerate()) == 2
    other.endpoint.close()
    with pytest.raises(FedkseedError, match="nobody answers"):
        ask(other.listen)


@pytest.mark.parametrize(
    ("listen", "parts"), [("127.0.0.1:9000", ("127.0.0.1", 9000)), ("[::1]:80", ("::1", 80)), ("box-1:1", ("box-1", 1))]
)
def test_an_address_has_a_host_and_a_port(listen, parts):
    assert split(listen) == parts


def connected(service) -> socket.socket:
    host, port = split(service.listen)
    return socket.create_connection((host, port), timeout=60)


def test_who_asks_without_end_is_hung_up_on(monkeypatch):
    """One byte now and then keeps no thread for ever."""
    monkeypatch.setattr(endpoint, "LONGEST_SECONDS", 0.1)
    service = Service()
    with connected(service) as slow, suppress(OSError):
        while not select.select([slow], [], [], 0.01)[0]:
            slow.sendall(b"x")
        assert slow.recv(1) == b""
    service.endpoint.close()


def test_too_many_visitors_are_sent_away_and_later_ones_let_in(monkeypatch):
    monkeypatch.setattr(endpoint, "VISITORS", 2)
    service = Service()
    first, second = connected(service), connected(service)
    for one in (first, second):
        one.sendall(b"GET /metrics HTTP/1.0\r\n")  # and not the end of it
    with connected(service) as third, suppress(ConnectionResetError):
        assert third.recv(1) == b""
    first.sendall(b"\r\n")
    assert b"metric 1" in b"".join(iter(lambda: first.recv(1024), b""))
    with urllib.request.urlopen(f"http://{service.listen}/metrics") as answer:
        assert answer.status == HTTPStatus.OK
    first.close()
    second.close()
    service.endpoint.close()
