"""The proxy that stands for networks: what it holds back comes later, what it cuts is noticed, a dead server is passed over."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from benchmarks.wires import LOOPBACK, Weather, Wire

SECONDS = 30.0  # for what is sure to happen


@contextmanager
def echo(word: bytes = b"") -> Iterator[int]:
    """A server that says back what it hears, after a word of its own; its port."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                with end:
                    end.sendall(word)
                    while data := end.recv(100):
                        end.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def dial(wire: Wire) -> socket.socket:
    return socket.create_connection((LOOPBACK, wire.port), timeout=SECONDS)


def test_what_is_held_back_comes_when_it_is_let_go():
    with echo() as port, closing(Wire(port)) as wire, dial(wire) as end:
        end.sendall(b"one")
        assert end.recv(100) == b"one"
        wire.held = True
        end.sendall(b"two")
        end.settimeout(0.1)
        with pytest.raises(TimeoutError):
            end.recv(100)
        wire.held = False
        end.settimeout(SECONDS)
        assert end.recv(100) == b"two"


def test_a_cut_ends_connections_and_welcomes_new_ones():
    with echo() as port, closing(Wire(port)) as wire, dial(wire) as end:
        end.sendall(b"one")
        assert end.recv(100) == b"one"
        wire.cut()
        assert end.recv(100) == b""
        with dial(wire) as again:
            again.sendall(b"two")
            assert again.recv(100) == b"two"


def test_a_torn_wire_lets_nobody_through_until_it_is_mended():
    with echo() as port, closing(Wire(port)) as wire, dial(wire) as end:
        wire.torn = True
        assert end.recv(100) == b""
        with dial(wire) as again:
            assert again.recv(100) == b""
        wire.torn = False
        with dial(wire) as last:
            last.sendall(b"one")
            assert last.recv(100) == b"one"


def test_connections_go_round_the_servers_and_past_one_that_is_dead():
    with socket.create_server((LOOPBACK, 0)) as dead:
        nobody = dead.getsockname()[1]
    with echo(b"a") as first, echo(b"b") as second, closing(Wire(first, nobody, second)) as wire:
        heard = set()
        for _ in range(4):
            with dial(wire) as end:
                heard.add(end.recv(1))
        assert heard == {b"a", b"b"}


def test_foul_weather_changes_nothing_of_what_is_said():
    with echo() as port, closing(Wire(port)) as wire, dial(wire) as end:
        wire.weather = Weather(delay_seconds=0.001, jitter_seconds=0.002, lost=0.3, again_seconds=0.001)
        said = bytes(range(200))
        for byte in said:
            end.sendall(bytes([byte]))
        heard = b""
        while len(heard) < len(said):
            heard += end.recv(100)
        assert heard == said
