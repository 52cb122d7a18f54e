"""One connection to RabbitMQ that comes back by itself; all that this project knows of pika.

- A line has a thread that runs pika's loop and owns the connection and its only channel. Everything but `start`, `call` and
  `end` happens on that thread; nothing is computed there, so that heartbeats go on whatever the service does.
- `SelectConnection`, because the blocking one waits for the confirm of each letter before it sends the next.
- There is one way to fail: whatever happens to connection, channel or consumers ends the connection, and after a pause the
  line begins anew: connection, channel, topology, and what its owner prepares. Only what can never go well, and only
  before the line was up for the first time, is an error: later, somebody may be about to mend it.
"""

import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pika import (  # type: ignore[import-untyped]
    BasicProperties,
    BlockingConnection,
    SelectConnection,
    SSLOptions,
    URLParameters,
    frame,
)
from pika.adapters.select_connection import IOLoop  # type: ignore[import-untyped]
from pika.adapters.utils.connection_workflow import AMQPConnectorException  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    AMQPError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from pika.spec import FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE, Basic  # type: ignore[import-untyped]

from fedkseed.errors import BrokerDenied, BrokerError, BrokerUntrusted, QueueMissing, SettingError, TopologyMismatch
from fedkseed.tls import Tls, alert, disagreement
from fedkseed.transport import condition
from fedkseed.transport.condition import Awaiting, Blocked, Condition, Connected, Disconnected, Unblocked
from fedkseed.transport.pauses import Pauses
from fedkseed.transport.topology import NOTHING, Topology

HEARTBEAT_SECONDS = 10
CONNECT_SECONDS = 10.0  # for each stage of connecting
CLOSING_SECONDS = 5.0  # how long the end of a connection may take
RECEIVED_BYTES = 1 << 16  # at a time
PIECE_BYTES = 1 << 12
PERSISTENT = 2
REFUSALS = {403, 530}  # access refused, not allowed
PRECONDITION_FAILED = 406
NOT_FOUND = 404

CLOSED = ChannelClosedByBroker  # what the question of a visitor raises that the broker refuses
LOST = (AMQPError, AMQPConnectorException, OSError)  # what it raises when there is no answer

Channel = Any  # pika has no types
Prepare = Callable[[Channel, Callable[[], None]], None]


class Server:
    """Where a broker is, and as whom to go there.

    Args:
        url: amqp or amqps, with user, password, host, port and virtual host.
        name: what the broker's operator sees.
        tls: of amqps.

    Raises:
        SettingError: the URL is none of RabbitMQ, which is told without the password; or a file of TLS cannot be used.
    """

    def __init__(self, url: str, name: str, tls: Tls | None = None) -> None:
        self._url, self._name = url, name
        parts = urlsplit(url)
        if parts.scheme not in ("amqp", "amqps"):
            raise SettingError("the URL of RabbitMQ must begin with amqp:// or amqps://")
        if "ssl_options" in parse_qs(parts.query):
            raise SettingError("the URL of RabbitMQ: ssl_options are not its to choose, FEDKSEED_TLS_CA and others are there")
        self._context = (tls or Tls()).context() if parts.scheme == "amqps" else None
        try:
            self.user: str = URLParameters(url).credentials.username
        except ValueError as error:
            raise SettingError(f"the URL of RabbitMQ: {error}") from error
        self._plain = self._properties(None)

    def parameters(self, line: str) -> Any:
        """What pika needs to know to open a line."""
        parameters = URLParameters(self._url)
        parameters.ssl_options = SSLOptions(self._context, parameters.host) if self._context else None
        parameters.heartbeat = parameters.heartbeat or HEARTBEAT_SECONDS  # the URL may say
        parameters.blocked_connection_timeout = None  # a broker may be short of something for as long as it takes
        parameters.connection_attempts = 1
        parameters.socket_timeout = parameters.stack_timeout = CONNECT_SECONDS
        parameters.client_properties = {"connection_name": f"{self._name}, {line}"}
        return parameters

    def disagreement(self, error: BaseException) -> str | None:
        """Why TLS is to blame for a connection that was not made; None when it is not."""
        said = repr(error)
        if self._context and "IncompatibleProtocolError" in said:  # pika's guess when somebody hangs up before AMQP begins
            where = URLParameters(self._url)
            said += alert(self._context, where.host, where.port)
        return disagreement(said)

    def properties(self, headers: Mapping[str, str]) -> Any:
        """How a letter is marked: persistent, and signed."""
        return self._properties(dict(headers)) if headers else self._plain

    def _properties(self, headers: dict[str, str] | None) -> Any:
        return BasicProperties(delivery_mode=PERSISTENT, user_id=self.user, headers=headers)


def dial(server: Server, seconds: float) -> Any:
    """Open a connection whose calls wait for their answers: for a visitor who asks a few questions and leaves.

    Args:
        server: where to go.
        seconds: how long a broker that reads nothing more is waited for.

    Raises:
        BrokerDenied: the broker will have nothing to do with this user.
        BrokerUntrusted: the two do not agree on TLS.
        BrokerError: it does not answer.
    """
    parameters = server.parameters("visiting")
    parameters.blocked_connection_timeout = seconds
    try:
        return BlockingConnection(parameters)
    except LOST as error:
        if clause := server.disagreement(error):
            raise BrokerUntrusted(f"RabbitMQ: {clause}") from error
        raise _refusal(error, NOTHING) or BrokerError(_sentence(_root(error))) from error


class Bundling(SelectConnection):  # type: ignore[misc] # pika has no types
    """A connection on which frames are sent and received together, and on which no letter is the last.

    pika gives every frame to the socket alone, three for each letter, and takes no more than four letters from it at a time.
    Each of these calls lets another thread have the interpreter, and one that computes does not give it back soon.

    pika also stumbles over headers that every sender may write: a time beyond the year 9999, a number that is none, tables
    within tables. That would end the thread, and again for each delivery of the letter, so it is read without its headers.
    """

    _bundle: list[bytes] | None = None  # frames that wait for others

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send all that is said meanwhile in one piece."""
        self._bundle = []
        try:
            yield
        finally:
            bundle, self._bundle = self._bundle, None
            if bundle:
                super()._adapter_emit_data(b"".join(bundle))

    def _proto_connection_made(self, transport: Any) -> None:
        """Have as much received at a time as is there, within bounds."""
        transport._MAX_RECV_BYTES = RECEIVED_BYTES  # noqa: SLF001 - pika has no setting for it
        super()._proto_connection_made(transport)

    def _on_data_available(self, data_in: bytes) -> None:
        """Read what was received piece by piece: what is left of a piece is copied after each of its frames."""
        for first in range(0, len(data_in), PIECE_BYTES):
            super()._on_data_available(data_in[first : first + PIECE_BYTES])

    def _read_frame(self) -> tuple[int, Any]:
        """Take a frame from what has arrived."""
        return read_frame(self._frame_buffer)

    def _adapter_emit_data(self, data: bytes) -> None:
        """Take a frame from pika."""
        if self._bundle is None:
            super()._adapter_emit_data(data)
        else:
            self._bundle.append(data)


def read_frame(arrived: bytes) -> tuple[int, Any]:
    """The first frame of what has arrived, and its length; 0 and none while it is not complete."""
    try:
        read: tuple[int, Any] = frame.decode_frame(arrived)
    except Exception:  # pika raises whatever it stumbled over
        if arrived[0] != FRAME_HEADER:
            raise
        _, channel, size = struct.unpack_from(">BHL", arrived)
        (body,) = struct.unpack_from(">Q", arrived, FRAME_HEADER_SIZE + 4)  # after a class and a reserved number
        return FRAME_HEADER_SIZE + size + FRAME_END_SIZE, frame.Header(channel, body, BasicProperties())
    return read


class Line:
    """See the module.

    Args:
        name: what the line is for.
        server: where it goes.
        pauses: between attempts.
        dice: for pauses that are not alike.
        observe: told what becomes of the line.
        prepare: makes a channel ready, after its topology, and then calls what it is given.
        gone: the channel is of no use any more; may be called more than once.
    """

    def __init__(
        self,
        name: condition.Line,
        server: Server,
        *,
        pauses: Pauses,
        dice: Random,
        observe: Callable[[Condition], None],
        prepare: Prepare,
        gone: Callable[[], None],
    ) -> None:
        self._name, self._server, self._parameters = name, server, server.parameters(name)
        self._pauses, self._dice, self._observe = pauses, dice, observe
        self._prepare, self._gone = prepare, gone
        self._topology = NOTHING
        self._up: Future[None] = Future()
        self._loop = IOLoop()
        self._thread = threading.Thread(target=self._run, name=f"rabbitmq {name}", daemon=True)
        self._connection: Any = None  # while there is one, or one is being made
        self._passed: tuple[tuple[int, int], Any] = (
            (0, 0),
            None,
        )  # bytes of those that ended, and the one that counts
        self._reason: BaseException | None = None  # why the connection ends
        self._up_since: float | None = None
        self._failures = 0  # in a row
        self._ending = self._dead = False

    def start(self, topology: Topology) -> None:
        """Connect, as often as it takes; returns when the line is up, or `end` was called.

        Raises:
            BrokerDenied: the broker will have nothing to do with this user.
            BrokerUntrusted: the two do not agree on TLS.
            TopologyMismatch: it has one of the queues or exchanges, but another kind of it.
            QueueMissing: what the line needs is not there, and it declares nothing.
        """
        self._topology = topology
        self.call(self._begin)
        self._thread.start()
        self._up.result()

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of AMQP that were sent and received so far; asked for on any thread, never fewer than before."""
        (sent, received), connection = self._passed
        return (sent + connection.bytes_sent, received + connection.bytes_received) if connection else (sent, received)

    def call(self, action: Callable[[], None]) -> None:
        """Have something done on the line's thread; does not wait.

        Raises:
            BrokerError: that thread has died, which is a fault in the program.
        """
        if self._dead:
            raise self._death()
        self._loop.add_callback_threadsafe(action)

    def pause(self, failures: int, action: Callable[[], None]) -> float:
        """Have something done after so many failures in a row; the seconds until then. Called on the line's thread."""
        seconds = self._pauses.seconds(failures, self._dice)
        self.later(seconds, action)
        return seconds

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done after so many seconds; called on the line's thread."""
        self._loop.call_later(seconds, action)

    def end(self) -> None:
        """Close the connection for good, and wait for that, within bounds."""
        self._loop.add_callback_threadsafe(self._end)
        if self._thread.is_alive():
            self._thread.join(2 * CLOSING_SECONDS)

    def renew(self, reason: str) -> None:
        """End the connection, so that the line begins anew; called on its thread."""
        self._fail(BrokerError(reason))

    def _run(self) -> None:
        try:
            self._loop.start()
        finally:
            self._dead = not self._ending
            self._loop.close()
            if not self._up.done():
                self._up.set_exception(self._death())

    def _death(self) -> BrokerError:
        return BrokerError(f"the thread of the {self._name} line has died")

    def _begin(self) -> None:
        if self._ending:
            return
        self._reason, self._up_since = None, None
        self._connection = Bundling(
            self._parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._closed,
            on_close_callback=self._closed,
            custom_ioloop=self._loop,
        )
        self._passed = (self._passed[0], self._connection)

    def _opened(self, connection: Any) -> None:
        if self._ending:
            connection.close()
            return
        connection.add_on_connection_blocked_callback(lambda _, frame: self._observe(Blocked(reason=frame.method.reason)))
        connection.add_on_connection_unblocked_callback(lambda *_: self._observe(Unblocked()))
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(lambda _, error: self._fail(error))
        channel.add_on_cancel_callback(lambda _: self.renew("the broker has cancelled a consumer"))
        declare(channel, self._topology)
        self._prepare(channel, self._ready)

    def _ready(self) -> None:
        self._up_since = time.monotonic()
        self._observe(Connected(line=self._name))
        if not self._up.done():
            self._up.set_result(None)

    def _fail(self, error: BaseException) -> None:
        """Something is wrong; the first thing that was wrong is the reason."""
        self._gone()
        self._reason = self._reason or error
        self._close()

    def _closed(self, _: Any, error: BaseException) -> None:
        self._gone()
        self._passed = (self.traffic, None)  # now: pika's own counters begin anew
        self._connection = None
        error = self._reason or error
        refusal = None if self._up.done() else self._refusal(error)
        if self._ending:
            self._loop.stop()
        elif refusal:
            self._ending = True
            self._up.set_exception(refusal)
            self._loop.stop()
        else:
            self._retry(error)

    def _refusal(self, error: BaseException) -> BrokerError | None:
        clause = self._server.disagreement(error)
        return BrokerUntrusted(f"RabbitMQ: {clause}") if clause else _refusal(error, self._topology)

    def _retry(self, error: BaseException) -> None:
        """Try again after a while; a line that was up for longer than the longest pause has not failed in a row."""
        lasted = 0.0 if self._up_since is None else time.monotonic() - self._up_since
        self._failures = 1 if lasted > self._pauses.longest_seconds else self._failures + 1
        seconds = self.pause(self._failures, self._begin)
        if _code(error) == NOT_FOUND and self._up_since is None:
            self._observe(Awaiting(line=self._name, what=_sentence(error), again_seconds=seconds))
        else:
            self._observe(Disconnected(line=self._name, reason=_sentence(error), again_seconds=seconds))

    def _end(self) -> None:
        self._ending = True
        if not self._up.done():
            self._up.set_result(None)
        self._gone()
        if self._connection is None:
            self._loop.stop()
        else:
            self._loop.call_later(CLOSING_SECONDS, self._loop.stop)
            self._close()

    def _close(self) -> None:
        """End the connection; one that is being made is left to come or fail, because pika stumbles when it is disturbed."""
        if self._connection.is_open:
            self._connection.close()


def declare(channel: Channel, topology: Topology) -> None:
    """Ask for everything at once; what is wrong with it closes the channel."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange, exchange_type="topic", durable=True)
    for queue in topology.queues:
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        channel.queue_bind(binding.queue, binding.exchange, routing_key=binding.pattern)


def ask_for_more(channel: Channel, queue: str, answered: Callable[[], None]) -> None:
    """Ask a queue for one more letter, when all are thought to be taken; the answer is that there is none, or one too many."""
    channel.add_callback(lambda _: answered(), [Basic.GetEmpty])
    channel.basic_get(queue, lambda *_: answered())


def taken(frame: Any) -> bool:
    """Whether the broker's answer to a letter is that it has it."""
    return isinstance(frame.method, Basic.Ack)


def _refusal(error: BaseException, topology: Topology) -> BrokerError | None:
    """The error for what trying again does not mend; a queue that is missing is not made by a line that declares none."""
    code = _code(error)
    if code in REFUSALS:
        return BrokerDenied(_sentence(error))
    if code == NOT_FOUND and not topology.queues:
        return QueueMissing(_sentence(error))
    return TopologyMismatch(_sentence(error)) if code == PRECONDITION_FAILED else None


def _code(error: BaseException) -> int | None:
    """With what code the broker closed; a connection that was cut while it was being made is not closed by the broker."""
    if isinstance(error, ConnectionClosedByBroker | ChannelClosedByBroker):
        return int(error.reply_code)
    told = re.match(r"ConnectionClosedByBroker: \((\d+)\)", str(error))  # pika wraps the broker's word into its guess, as text
    return int(told[1]) if told and isinstance(error, ProbableAccessDeniedError | ProbableAuthenticationError) else None


def _root(error: BaseException) -> BaseException:
    """What went wrong in the first place, which pika wraps several times."""
    inside = (*error.args, getattr(error, "exception", None))
    return next((_root(one) for one in inside if isinstance(one, BaseException)), error)


def _sentence(error: BaseException) -> str:
    return disagreement(repr(error)) or str(error) or type(error).__name__
