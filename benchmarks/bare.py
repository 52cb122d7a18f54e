"""The baseline of `benchmarks.aggregator`: all that a program cannot do without that answers letters, and nothing else.

It consumes letters, publishes one confirmed, persistent, mandatory letter of a receipt's size to the sender of each, and
acknowledges what is confirmed. It reads nothing, computes nothing and keeps nothing. One connection and one channel: what
is delivered first is answered first, so the number of an answer is the number of its letter.

    python benchmarks/bare.py URL QUEUE EXCHANGE SIZE
"""

import sys
from typing import Any

from pika import BasicProperties, SelectConnection, URLParameters  # type: ignore[import-untyped]

PREFETCH = 1000


class Bare:
    """Answers the letters of a queue.

    Args:
        queue: where letters are.
        exchange: where answers go; the routing key is that of the letter without its first word.
        size: bytes of an answer.
    """

    def __init__(self, queue: str, exchange: str, size: int) -> None:
        self._queue, self._exchange, self._answer = queue, exchange, bytes(size)
        self._persistent = BasicProperties(delivery_mode=2)

    def begin(self, connection: Any) -> None:
        """Open the channel."""
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_return_callback(lambda *_: sys.exit("an answer was not routed"))
        channel.confirm_delivery(self._confirmed)
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(self._queue, self._delivered)

    def _delivered(self, channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        key = method.routing_key.partition(".")[2]
        channel.basic_publish(self._exchange, key, self._answer, self._persistent, mandatory=True)

    def _confirmed(self, frame: Any) -> None:
        if frame.method.NAME != "Basic.Ack":
            sys.exit("an answer was refused")
        self._channel.basic_ack(frame.method.delivery_tag, frame.method.multiple)


def main() -> None:
    """Answer until the process is ended."""
    url, queue, exchange, size = sys.argv[1:]
    bare = Bare(queue, exchange, int(size))
    SelectConnection(URLParameters(url), on_open_callback=bare.begin).ioloop.start()


if __name__ == "__main__":
    main()
