"""A connection to Redis: questions in, replies or one typed error out.

The only module that imports `redis`. A connection is made when it is needed, and again after it was lost; nothing is
sent twice here.
"""

import socket
from typing import Any

import redis

from fedkseed.errors import LedgerAltered, LedgerDenied, LedgerError, LedgerUnreachable, LedgerUntrusted, SettingError
from fedkseed.ledger.records import Command
from fedkseed.tls import Tls, alert, disagreement

TIMEOUT = 10.0  # seconds until a silent server counts as unreachable

_DENIED = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.NoPermissionError,
)
_WAIT = (  # the server is there, but takes no writes for now
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.TryAgainError,
)


class _Secured(redis.SSLConnection):
    """A connection by TLS as `tls` says; if a newer library did not ask for that here, it would trust no fewer checks.

    Args:
        tls: whom to trust, and who we are.
        options: of the library.
    """

    def __init__(self, *, tls: Tls, **options: Any) -> None:
        super().__init__(**options)
        self._context = tls.context()

    def alert(self) -> str:
        """What the server says to us before we speak."""
        return alert(self._context, self.host, self.port)

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> socket.socket:
        return self._context.wrap_socket(sock, server_hostname=self.host)


class Connection:
    """One connection, for one thread at a time.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with credentials.
        tls: of rediss.

    Raises:
        SettingError: the URL is none, or a file of TLS cannot be used.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        try:
            pool = redis.ConnectionPool.from_url(url, protocol=2, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
            options = pool.connection_kwargs
            if options["protocol"] != 2 or options.get("decode_responses") or any(name.startswith("ssl_") for name in options):
                raise SettingError("the URL of Redis: protocol, decode_responses and options of TLS are not its to choose")
            secure = issubclass(pool.connection_class, redis.SSLConnection)
            self._connection: Any = _Secured(tls=tls or Tls(), **options) if secure else pool.connection_class(**options)
        except (ValueError, TypeError) as error:
            raise SettingError(f"the URL of Redis: {error}") from error
        self._answered = False  # ever
        self.where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands in one go and wait for their replies.

        Raises:
            LedgerUnreachable: the connection was lost, or the server takes no writes; what became of the commands is not known.
            LedgerUntrusted: the two ends do not agree on TLS.
            LedgerDenied: the credentials are wrong, or allow too little.
            LedgerAltered: a key holds something else than was written.
            LedgerError: another refusal.
        """
        try:
            self._connection.send_packed_command(self._connection.pack_commands(commands))
            replies = [self._reply() for _ in commands]
        except redis.RedisError as error:
            self.close()
            raise self._typed(error) from error
        except BaseException:
            self.close()  # replies that nobody waits for must not answer the next question
            raise
        self._answered = True
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise self._typed(reply) from reply
        return replies

    def transaction(self, *commands: Command) -> list[Any] | None:
        """Do all commands at one moment; None, and nothing is done, when a watched key was written.

        Raises:
            LedgerAltered: a command failed among others that did not: somebody else wrote keys of the ledger.
            LedgerError: as for `ask`.
        """
        replies: list[Any] | None = self.ask(("MULTI",), *commands, ("EXEC",))[-1]
        for reply in replies or ():
            if isinstance(reply, redis.RedisError):
                raise LedgerAltered(f"Redis at {self.where}: {reply}") from reply
        return replies

    def close(self) -> None:
        """Drop the connection."""
        self._connection.disconnect()

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error

    def _disagreement(self, error: redis.RedisError) -> str | None:
        """Why TLS is to blame; a server that hung up before it ever answered is asked for its reason."""
        hung_up = isinstance(error, redis.ConnectionError) and not self._answered
        if hung_up and isinstance(self._connection, _Secured):
            return disagreement(str(error)) or disagreement(self._connection.alert())
        return disagreement(str(error))

    def _typed(self, error: redis.RedisError) -> LedgerError:
        said = f"Redis at {self.where}: {error}"
        if clause := self._disagreement(error):
            return LedgerUntrusted(f"Redis at {self.where}: {clause}")
        if isinstance(error, _DENIED):
            return LedgerDenied(said)
        if isinstance(error, (redis.ConnectionError, redis.TimeoutError, *_WAIT)) or str(error).startswith("MISCONF"):
            return LedgerUnreachable(said)
        return LedgerAltered(said) if str(error).startswith("WRONGTYPE") else LedgerError(said)
