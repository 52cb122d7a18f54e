"""Ports for servers of one's own, which come to them later, or come back."""

import socket
from itertools import cycle

import pytest

from fedkseed.errors import CannotStart
from fedkseed_local import servers
from fedkseed_local.servers import LOOPBACK, PORTS, free_port


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server((LOOPBACK, free_port())) as listener:
        yield listener.getsockname()[1]


def test_no_port_is_given_twice_while_there_are_others():
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == len(given)
    assert set(given) <= set(PORTS)


def test_one_that_is_taken_is_passed_over(taken, monkeypatch):
    other = free_port()
    monkeypatch.setattr(servers, "_drawn", cycle([taken, other]))
    assert free_port() == other


def test_where_all_are_taken_it_says_so(taken, monkeypatch):
    monkeypatch.setattr(servers, "_drawn", cycle([taken]))
    with pytest.raises(CannotStart, match="no port from 20000 to 29999 is free"):
        free_port()
