"""What a letter weighs on a connection: AMQP 0-9-1's frames around its body, and the answer to it.

Computed by the rules of the protocol for letters as `rabbitmq.py` publishes and takes them. What may differ from a
connection's own count: answers that stand for several letters, and a user that is not called like the participant.
"""

from collections.abc import Mapping
from functools import lru_cache

FRAME = 8  # type, channel, size, end mark
METHOD = 4  # class and method
ANSWER = FRAME + METHOD + 8 + 1  # a confirmation or an acknowledgement: number, multiple
BODY = 131072 - FRAME  # of one frame, as brokers allow without being told otherwise


def published(*, exchange: str, key: str, body: int, user: str, headers: Mapping[str, str]) -> int:
    """Bytes of a letter that is published, and of its confirmation."""
    return _published(_short(exchange), _short(key), _short(user)) + _body(body) + (_table(headers) if headers else 0)


def delivered(*, exchange: str, key: str, body: int, user: str, headers: Mapping[str, str]) -> int:
    """Bytes of a letter that is delivered, and of its acknowledgement."""
    return _delivered(_short(exchange), _short(key), _short(user)) + _body(body) + (_table(headers) if headers else 0)


@lru_cache  # names may be any number, their lengths are few
def _published(exchange: int, key: int, user: int) -> int:
    """The frames of method and properties, and the answer; from the bytes of three strings."""
    method = METHOD + 2 + exchange + key + 1  # a reserved number; mandatory and immediate
    return FRAME + method + _properties(user) + ANSWER


@lru_cache
def _delivered(exchange: int, key: int, user: int) -> int:
    """The same the other way."""
    method = METHOD + _short("1") + 8 + 1 + exchange + key  # consumer; number, redelivered
    return FRAME + method + _properties(user) + ANSWER


def _properties(user: int) -> int:
    """The frame of the properties, without headers."""
    return FRAME + METHOD + 8 + 2 + 1 + user  # size of the body; flags; persistent


def _table(headers: Mapping[str, str]) -> int:
    return 4 + sum(_short(name) + 1 + 4 + len(value.encode()) for name, value in headers.items())


def _body(size: int) -> int:
    """The frames of the body."""
    return size + FRAME * -(-size // BODY)


def _short(text: str) -> int:
    """A string of at most 255 bytes, after its length."""
    return 1 + len(text.encode())
