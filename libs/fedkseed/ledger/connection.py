"""A connection to Redis: questions in, replies or one typed error out.

The only module that imports `redis`. A connection is made when it is needed, and again after it was lost; nothing is
sent twice here.
"""

from typing import Any

import redis

from fedkseed.errors import LedgerAltered, LedgerDenied, LedgerError, LedgerUnreachable, SettingError
from fedkseed.ledger.records import Command

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


class Connection:
    """One connection, for one thread at a time.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with credentials.

    Raises:
        SettingError: the URL is none.
    """

    def __init__(self, url: str) -> None:
        try:
            pool = redis.ConnectionPool.from_url(url, protocol=2, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
            options = pool.connection_kwargs
            self._connection: Any = pool.connection_class(**options)
        except (ValueError, TypeError) as error:
            raise SettingError(f"the URL of Redis: {error}") from error
        if options["protocol"] != 2 or options.get("decode_responses"):
            raise SettingError("the URL of Redis: protocol and decode_responses are not its to choose")
        self.where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands in one go and wait for their replies.

        Raises:
            LedgerUnreachable: the connection was lost, or the server takes no writes; what became of the commands is not known.
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

    def _typed(self, error: redis.RedisError) -> LedgerError:
        said = f"Redis at {self.where}: {error}"
        if isinstance(error, _DENIED):
            return LedgerDenied(said)
        if isinstance(error, (redis.ConnectionError, redis.TimeoutError, *_WAIT)) or str(error).startswith("MISCONF"):
            return LedgerUnreachable(said)
        return LedgerAltered(said) if str(error).startswith("WRONGTYPE") else LedgerError(said)
