"""Wires that break: a TCP proxy in front of a server, which loses one message at a moment that the test chooses."""

import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """What is lost: a request with these words, or the reply to it."""

    request: bytes
    reply: bytes | None  # None: the request does not arrive. Else it does, and the reply, known by this, is not passed on
    meanwhile: Callable[[], object]  # is called before anybody notices


class Wire:
    """Listens on a loopback port and passes everything on to another one.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.torn = False  # nobody gets through while it is
        self._loss: Loss | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def broke(self) -> bool:
        """Whether what was to be lost has been."""
        return self._loss is None

    def lose(self, loss: Loss) -> None:
        """Break the connection that sends the next request of a kind."""
        self._loss = loss

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection(self._server) as server:
                while not self.torn and self._exchange(client, server):
                    pass
        except OSError:
            return

    def _exchange(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what comes from either side; whether the connection stands."""
        for end in select.select([client, server], [], [])[0]:
            if not (data := end.recv(1 << 20)):
                return False
            if end is client and (loss := self._loss) and loss.request in data:
                self._break(loss, data, server)
                return False
            (server if end is client else client).sendall(data)
        return True

    def _break(self, loss: Loss, data: bytes, server: socket.socket) -> None:
        if loss.reply is not None:
            server.sendall(data)
            heard = b""
            while loss.reply not in heard:
                heard += server.recv(1 << 20)
        loss.meanwhile()
        self._loss = None
