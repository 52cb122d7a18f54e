"""RabbitMQ's management interface over HTTP: users, what they may do, and who of them is connected."""

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from fedkseed.errors import BrokerDenied, BrokerError, BrokerUntrusted
from fedkseed.tls import Tls, disagreement
from fedkseed.transport.rights import Rights
from fedkseed_cli import credentials

SECONDS = 30.0  # for an answer
DENIED = (401, 403)
NOT_FOUND = 404


class Management:
    """The operator's side of one broker.

    Args:
        url: http or https, with the operator's user and password.
        vhost: the federation's virtual host.
        tls: of https.

    Raises:
        SettingError: a file of TLS cannot be used.
    """

    def __init__(self, url: str, vhost: str, tls: Tls) -> None:
        parts = urlsplit(url)
        secret = base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
        self._headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}
        self.where = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        self._vhost = quote(vhost, safe="")
        self._context = tls.context() if parts.scheme == "https" else None

    def add(self, name: str, password: str, rights: Rights) -> None:
        """Make a user, with all that it may do; in an order in which it never may more.

        Raises:
            BrokerError: there is a user of that name; or as for `ask`.
        """
        if self.ask("GET", f"users/{name}") is not None:
            raise BrokerError(f"there is a user {name} already")
        self.ask("PUT", f"users/{name}", credentials.user(name, password, rights))
        for limit, most in rights.limits.items():
            self.ask("PUT", f"user-limits/{name}/{limit}", {"value": most})
        for topic in credentials.topics(rights):
            self.ask("PUT", f"topic-permissions/{self._vhost}/{name}", topic)
        self.ask("PUT", f"permissions/{self._vhost}/{name}", credentials.permission(rights))

    def remove(self, name: str) -> None:
        """Remove a user; RabbitMQ closes its connections.

        Raises:
            BrokerError: there is none; or as for `ask`.
        """
        if self.ask("GET", f"users/{name}") is None:
            raise BrokerError(f"there is no user {name}")
        self.ask("DELETE", f"users/{name}")

    def permissions(self) -> Sequence[dict[str, Any]]:
        """Who may do something in the virtual host, and what."""
        return self._all(f"vhosts/{self._vhost}/permissions")

    def limits(self) -> Sequence[dict[str, Any]]:
        """The limits of users."""
        return self._all("user-limits")

    def connections(self) -> Sequence[dict[str, Any]]:
        """Those in the virtual host; none where the broker keeps no statistics."""
        return self._all(f"vhosts/{self._vhost}/connections")

    def _all(self, path: str) -> Sequence[dict[str, Any]]:
        found: Sequence[dict[str, Any]] = self.ask("GET", path) or ()
        return found

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Have something done or told; None for what is not there.

        Raises:
            BrokerDenied: this user may not.
            BrokerUntrusted: the two ends do not agree on TLS.
            BrokerError: nobody answers there, or with something else.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.where}/api/{path}", data, self._headers, method=method)  # noqa: S310 - http or https, see settings
        try:
            with urlopen(request, timeout=SECONDS, context=self._context) as reply:  # noqa: S310
                return json.loads(reply.read() or b"{}")
        except HTTPError as error:
            if error.code == NOT_FOUND:
                return None
            kind = BrokerDenied if error.code in DENIED else BrokerError
            raise kind(f"RabbitMQ's management at {self.where}: {error.code} {error.reason}") from error
        except (URLError, OSError, ValueError) as error:
            said = str(getattr(error, "reason", error))
            if clause := disagreement(said):
                raise BrokerUntrusted(f"RabbitMQ's management at {self.where}: {clause}") from error
            raise BrokerError(f"RabbitMQ's management at {self.where}: {said}") from error
