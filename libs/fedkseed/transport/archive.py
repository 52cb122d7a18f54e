"""Reading the archive of a federation: every update as it came, from the oldest one that is kept.

A stream is read by any AMQP 0-9-1 client that says where to begin; nothing is taken out of it.
"""

from collections.abc import Iterator
from contextlib import suppress

from fedkseed.errors import BrokerError, QueueMissing
from fedkseed.transport.line import CLOSED, LOST, NOT_FOUND, Server, dial
from fedkseed.transport.topology import archive_stream

PREFETCH = 500  # letters under way; a stream wants a bound
PATIENCE_SECONDS = 5.0  # without another letter, after which there is none


def read(server: Server, federation: str) -> Iterator[bytes]:
    """The bodies of the archive, in the order in which the broker took them.

    Raises:
        QueueMissing: no archive is kept.
        BrokerDenied: the broker will have nothing to do with this user.
        BrokerError: it does not answer, or refuses.
    """
    connection, name = dial(server, PATIENCE_SECONDS), archive_stream(federation)
    try:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        letters = channel.consume(name, arguments={"x-stream-offset": "first"}, inactivity_timeout=PATIENCE_SECONDS)
        for method, _, body in letters:
            if method is None:
                return
            channel.basic_ack(method.delivery_tag)
            yield bytes(body)
    except CLOSED as error:
        if error.reply_code == NOT_FOUND:
            raise QueueMissing(f"no queue {name}: the aggregators of {federation} keep no archive") from error
        raise BrokerError(error.reply_text) from error
    except LOST as error:
        raise BrokerError(str(error) or type(error).__name__) from error
    finally:
        with suppress(*LOST):
            connection.close()
