"""A TCP proxy between two parties: what a network does to connections, on any machine, without privileges.

What passes can be looked at, held back, delayed, made late now and then, or cut. TCP never loses bytes of a connection
that stands: to its ends, a packet that is lost is bytes that come late, and that is what is shown here. Below TCP nothing
is: no packet that is lost while a connection is made, none that comes out of order, no address that answers no more.
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

LOOPBACK = "127.0.0.1"
PIECE = 1 << 16  # bytes that are passed on together at the most
LONGEST_LATE = 4  # a packet that is lost again is sent again after twice the time, so often
CONNECT_SECONDS = 5.0

Tap = Callable[[bytes], bytes | None]  # sees a piece that passes and says what passes instead; None ends the connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to every piece that passes, in either direction."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0  # uniform, on top
    lost: float = 0.0  # chance of a piece to be lost, and sent again a retransmission's time later
    again_seconds: float = 0.2  # that time; it doubles when the piece is lost again

    def seconds(self, dice: Random) -> float:
        """How late a piece is."""
        seconds = self.delay_seconds + self.jitter_seconds * dice.random()
        again = self.again_seconds
        for _ in range(LONGEST_LATE):
            if dice.random() >= self.lost:
                break
            seconds, again = seconds + again, 2 * again
        return seconds


FAIR = Weather()


def unseen() -> tuple[Tap, Tap]:
    """Taps of a connection that nobody looks at: what its client sends, what it receives."""
    return (lambda data: data), (lambda data: data)


class Wire:
    """Listens on a loopback port and passes everything on to a server.

    Args:
        ports: of the server; of several, which are one service, a connection goes to the next one that takes it.
        taps: makes the taps of each connection.
        dice: for the weather.
    """

    def __init__(self, *ports: int, taps: Callable[[], tuple[Tap, Tap]] = unseen, dice: Random | None = None) -> None:
        self.ports, self._taps, self._dice = list(ports), taps, dice or Random(0)  # noqa: S311 - weather is no secret
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.weather = FAIR
        self._torn = self._closed = False
        self._free = threading.Event()  # while nothing is held back
        self._free.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def torn(self) -> bool:
        """Nobody gets through: connections are cut, and new ones as soon as they are made."""
        return self._torn

    @torn.setter
    def torn(self, torn: bool) -> None:
        self._torn = torn
        if torn:
            self.cut()

    @property
    def held(self) -> bool:
        """Nothing passes, and nobody is told: connections stand, new ones are silent."""
        return not self._free.is_set()

    @held.setter
    def held(self, held: bool) -> None:
        (self._free.clear if held else self._free.set)()

    def cut(self) -> None:
        """End all connections; new ones are welcome."""
        with self._lock:
            for end in self._open:
                _shut(end)

    def close(self) -> None:
        """End everything."""
        self._closed = self._torn = True
        self._free.set()
        _shut(self._listener)  # which wakes who waits for a connection
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            self._free.wait()
            if self._torn or (server := self._connect()) is None:
                return
            with server:
                self._join(client, server)

    def _connect(self) -> socket.socket | None:
        """The next server that takes a connection."""
        for _ in range(len(self.ports)):
            with self._lock:
                self.ports.append(port := self.ports.pop(0))
            try:
                return socket.create_connection((LOOPBACK, port), timeout=CONNECT_SECONDS)
            except OSError:
                continue
        return None

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on between both ends until one of them ends."""
        up, down = self._taps()
        for end in (client, server):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        try:
            if self._torn:
                return
            back = threading.Thread(target=self._pass_on, args=(server, client, down), daemon=True)
            back.start()
            self._pass_on(client, server, up)
            back.join()
        finally:
            with self._lock:
                self._open -= {client, server}

    def _pass_on(self, source: socket.socket, sink: socket.socket, tap: Tap) -> None:
        try:
            while data := source.recv(PIECE):
                self._free.wait()
                if self.weather is not FAIR and (seconds := self.weather.seconds(self._dice)):
                    time.sleep(seconds)
                if self._torn or (passed := tap(data)) is None:
                    break
                sink.sendall(passed)
        except OSError:
            pass
        finally:
            _shut(source)
            _shut(sink)


def _shut(end: socket.socket) -> None:
    """End a connection for both of its ends; it may have ended."""
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
