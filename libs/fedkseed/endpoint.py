"""Where a service can be looked at from outside: `/metrics`, `/healthz`, `/readyz` over HTTP, for whoever reaches the port.

Alive is a service whose own loop turns, or that waits in it for a server which it has tried lately: starting it anew would
not help. Ready is one that has all it needs to work; what it has not is said, as JSON.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from fedkseed.errors import FedkseedError, SettingError

LONGEST_SECONDS = 15.0  # that one visit may take
VISITORS = 128  # at one time
ANSWER_SECONDS = 5.0  # within which a loop that turns answers
TRIED_SECONDS = 60.0  # longer than any pause between two tries
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask somebody who listens everywhere

Page = tuple[HTTPStatus, str, bytes]  # status, content type, body


class Health:
    """Whether a service is alive and ready.

    Args:
        answers: whether its loop comes around within so many seconds.
    """

    def __init__(self, answers: Callable[[float], bool]) -> None:
        self._answers = answers
        self._missing: list[Callable[[], Sequence[str]]] = []
        self._tried = -TRIED_SECONDS

    def needs(self, missing: Callable[[], Sequence[str]]) -> None:
        """The service is ready only while this says that nothing is missing."""
        self._missing.append(missing)

    def tried(self) -> None:
        """The loop waits for a server, and has just tried it in vain."""
        self._tried = time.monotonic()

    def alive(self) -> bool:
        """Whether the loop turns, or waits for what it may wait for; takes up to ANSWER_SECONDS to deny it."""
        return self._waits() or self._answers(ANSWER_SECONDS) or self._waits()

    def _waits(self) -> bool:
        return time.monotonic() - self._tried < TRIED_SECONDS

    def missing(self) -> list[str]:
        """What is not there; nothing when the service is ready."""
        return [sentence for missing in self._missing for sentence in missing()]


class Endpoint:
    """Answers on a port, on threads of its own, until the process ends.

    Args:
        listen: HOST:PORT.
        health: of the service.
        metrics: the metrics as text, with its content type.

    Raises:
        SettingError: nobody can listen there.
    """

    def __init__(self, listen: str, health: Health, metrics: Callable[[], tuple[str, bytes]]) -> None:
        self._health, self._metrics = health, metrics
        host, port = split(listen)
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request."""

            timeout = ANSWER_SECONDS  # for who connects and says nothing

            def setup(self) -> None:
                super().setup()
                self._end = threading.Timer(LONGEST_SECONDS, self._hang_up)  # for who says a little now and then
                self._end.daemon = True
                self._end.start()

            def _hang_up(self) -> None:
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def finish(self) -> None:
                self._end.cancel()
                with suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                status, kind, body = endpoint.page(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: every scrape would be a line."""

        class Server(ThreadingTCPServer):
            """Over either kind of address; the library's HTTP server would ask DNS for a name of its own."""

            allow_reuse_address = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True
            _room = threading.BoundedSemaphore(VISITORS)

            def process_request(self, request: Any, client_address: Any) -> None:
                """Answer on a thread; those who come when too many are there are sent away."""
                if self._room.acquire(blocking=False):
                    super().process_request(request, client_address)
                else:
                    self.shutdown_request(request)

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                """Answer, and make room before the visitor knows that it is over."""
                try:
                    self.finish_request(request, client_address)
                except Exception:  # noqa: BLE001 - whatever it is, it ends this visit alone
                    self.handle_error(request, client_address)
                finally:
                    self._room.release()
                    self.shutdown_request(request)

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing of who hangs up in the middle."""
                if not isinstance(sys.exc_info()[1], OSError):
                    super().handle_error(request, client_address)

        try:
            self._server = Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise SettingError(f"FEDKSEED_METRICS_LISTEN: cannot listen on {listen}: {error}") from error
        threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True).start()

    def page(self, path: str) -> Page:
        """What is answered to a path."""
        match path:
            case "/metrics":
                return HTTPStatus.OK, *self._metrics()
            case "/healthz":
                return _told("alive", missing=() if self._health.alive() else ("the loop of the process does not turn",))
            case "/readyz":
                return _told("ready", missing=self._health.missing())
            case _:
                return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics /healthz /readyz\n"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def ask(listen: str) -> None:
    """Ask a service whether it is ready.

    Raises:
        FedkseedError: it is not, or does not answer; the line says what is missing.
    """
    host, port = split(listen)
    host = ANYWHERE.get(host, host)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        urlopen(f"http://{where}/readyz", timeout=2 * ANSWER_SECONDS).close()
    except HTTPError as error:
        raise FedkseedError(f"not ready: {'; '.join(json.load(error)['missing'])}") from error
    except (URLError, OSError, ValueError) as error:
        raise FedkseedError(f"nobody answers at {where}: {getattr(error, 'reason', error)}") from error


def split(listen: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 address stands in brackets."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _told(what: str, missing: Sequence[str]) -> Page:
    status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
    return status, "application/json", json.dumps({what: not missing, "missing": list(missing)}).encode() + b"\n"
