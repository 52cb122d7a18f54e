"""What a letter weighs on a connection: AMQP 0-9-1's frames around its body, and the answer to it.

Computed by the rules of the protocol for letters as `rabbitmq.py` publishes and takes them. What may differ from a
connection's own count: answers that stand for several letters, and a user that is not called like the participant.
"""

from collections.abc import Mapping

FRAME = 8  # type, channel, size, end mark
METHOD = 4  # class and method
ANSWER = FRAME + METHOD + 8 + 1  # a confirmation or an acknowledgement: number, multiple
BODY = 131072 - FRAME  # of one frame, as brokers allow without being told otherwise


def published(*, exchange: str, key: str, body: int, user: str, headers: Mapping[str, str]) -> int:
    """Bytes of a letter that is published, and of its confirmation."""
    method = METHOD + 2 + _short(exchange) + _short(key) + 1  # a reserved number; mandatory and immediate
    return FRAME + method + _content(body, user, headers) + ANSWER


def delivered(*, exchange: str, key: str, body: int, user: str, headers: Mapping[str, str]) -> int:
    """Bytes of a letter that is delivered, and of its acknowledgement."""
    method = METHOD + _short("1") + 8 + 1 + _short(exchange) + _short(key)  # consumer; number, redelivered
    return FRAME + method + _content(body, user, headers) + ANSWER


def _content(body: int, user: str, headers: Mapping[str, str]) -> int:
    """The frame of the properties, and those of the body."""
    table = 4 + sum(_short(name) + 1 + 4 + len(value.encode()) for name, value in headers.items()) if headers else 0
    properties = 2 + table + 1 + _short(user)  # flags; persistent
    return FRAME + METHOD + 8 + properties + body + FRAME * -(-body // BODY)


def _short(text: str) -> int:
    """A string of at most 255 bytes, after its length."""
    return 1 + len(text.encode())
