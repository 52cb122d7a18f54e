"""The port to a broker over RabbitMQ 3.10 and newer.

- Two connections, one to publish and one to consume: when the broker is short of memory or disk it reads nothing more from
  those who publish, and acknowledgements must still get through. Then nothing is confirmed, so nothing is acknowledged, so
  no more than `prefetch` letters of a queue are handed out: that is all the back-pressure there is.
- Looking into a queue has a connection of its own, for as long as it takes.
- Every letter is persistent, mandatory, confirmed, and signed with the user of the connection, which the broker checks.
- No copies are kept: what is not confirmed when a line is lost, or published while it is down, is Unconfirmed once it is
  up again. A return does not say which letter it is of: after one that was required, everything unanswered is
  Unconfirmed in the same way, and the topology is declared anew. Twice is better than never.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from fedkseed.errors import BrokerError
from fedkseed.transport.broker import Confirmed, Delivery, Envelope, Notice, Unconfirmed
from fedkseed.transport.condition import Condition, Refused, Returned, Waiting
from fedkseed.transport.confirms import Confirms
from fedkseed.transport.line import Channel, Line, Server, ask_for_more, taken
from fedkseed.transport.pauses import Pauses
from fedkseed.transport.tags import Tags
from fedkseed.transport.topology import NOTHING, Topology
from fedkseed.transport.words import delivery, text

PREFETCH = 3000  # a micro-batch that is decided, one that is answered, one that comes
MOST = 65535  # letters that a consumer can hold
QUIET_SECONDS = 0.3  # without a letter, after which a queue that has no more is believed
LOOK_SECONDS = 10.0  # between two looks at how long queues are

Notify = Callable[[Notice], None]


class RabbitBroker:
    """A `Broker` over RabbitMQ; `close` also ends a `start` that still waits for the broker.

    Args:
        server: where it is, and as whom to go there.
        dice: for pauses that are not alike.
        observe: told what becomes of the connections; called on their threads, must not wait.
        prefetch: letters of a queue that are handed out and not acknowledged.
        pauses: before something that failed is tried again.
        backlogs: queues whose length is observed now and then. It costs some bytes each time: not for thin lines.
    """

    def __init__(
        self,
        server: Server,
        *,
        dice: Random,
        observe: Callable[[Condition], None] = lambda _: None,
        prefetch: int = PREFETCH,
        pauses: Pauses | None = None,
        backlogs: Sequence[str] = (),
    ) -> None:
        self._server, self._observe, self._prefetch, self._backlogs = server, observe, prefetch, backlogs
        self._publisher: Publisher | None = None
        self._consumer: Consumer | None = None
        self._looker: Looker | None = None
        self._closed = False
        self._line = partial(Line, server=server, pauses=pauses or Pauses(), dice=dice, observe=observe)

    def start(self, topology: Topology, queues: Sequence[str], notify: Notify) -> None:
        """See Broker."""

        def tell(notice: Notice) -> None:
            if not self._closed:
                notify(notice)

        self._publisher = Publisher(self._line, self._server, tell, self._observe)
        try:
            self._publisher.line.start(topology)
            if queues and not self._closed:
                self._consumer = Consumer(
                    self._line, queues, self._prefetch, tell, backlogs=self._backlogs, observe=self._observe
                )
                self._consumer.line.start(topology)
        except BrokerError:
            self.close()
            raise

    def look(self, queue: str) -> tuple[Delivery, ...]:
        """See Broker."""
        looker = self._looker = Looker(self._line, queue)
        try:
            looker.line.start(NOTHING)
        finally:
            looker.line.end()
        if looker.seen is None:
            raise BrokerError(f"the connection was closed before {queue} was looked into")
        return looker.seen

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """See Broker."""
        if self._publisher:
            self._publisher.line.call(partial(self._publisher.publish, token, envelopes))

    def acknowledge(self, tags: Iterable[int]) -> None:
        """See Broker."""
        if self._consumer:
            self._consumer.line.call(partial(self._consumer.acknowledge, tuple(tags)))

    def traffic(self) -> Mapping[tuple[str, ...], float]:
        """Bytes of AMQP on the connections so far, by line and direction."""
        ends = {"publishing": self._publisher, "consuming": self._consumer}
        passed = {name: end.line.traffic if end else (0, 0) for name, end in ends.items()}
        return {(line, way): passed[line][i] for line in ends for i, way in enumerate(("sent", "received"))}

    def close(self) -> None:
        """See Broker."""
        self._closed = True
        for end in (self._looker, self._consumer, self._publisher):
            if end:
                end.line.end()


class Publisher:
    """What happens on the thread that publishes."""

    def __init__(self, line: Callable[..., Line], server: Server, tell: Notify, observe: Callable[[Condition], None]) -> None:
        self.line = line("publishing", prepare=self._prepare, gone=self._gone)
        self._server, self._tell, self._observe = server, tell, observe
        self._channel: Channel | None = None  # while the line is up
        self._confirms = Confirms()
        self._required: set[str] = set()  # exchanges that somebody must listen to
        self._owed: dict[int, None] = {}  # tokens to be told of as unconfirmed, in order
        self._refusals = 0  # in a row
        self._waiting = False  # after a refusal

    def publish(self, token: int, envelopes: Sequence[Envelope]) -> None:
        """Publish letters, or note that they were not."""
        if self._channel is None:
            self._owed[token] = None
            return
        with self._channel.connection.together():
            for envelope in envelopes:
                to = envelope.to
                if to.required:
                    self._required.add(to.exchange)
                properties = self._server.properties(envelope.headers)
                self._channel.basic_publish(to.exchange, to.key, envelope.body, properties, mandatory=True)
        if envelopes:
            self._confirms.publish(token, len(envelopes))
        else:
            self._tell(Confirmed(token=token))

    def _prepare(self, channel: Channel, ready: Callable[[], None]) -> None:
        """Ask for confirms; the broker answers that after it has declared the topology."""

        def selected(_: Any) -> None:
            self._channel, self._confirms = channel, Confirms()
            ready()
            self._settle()

        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._answered, callback=selected)

    def _gone(self) -> None:
        """Whatever is under way is lost, as far as anybody knows."""
        self._channel = None
        self._owed.update(dict.fromkeys(self._confirms.unanswered()))
        self._confirms = Confirms()

    def _answered(self, frame: Any) -> None:
        good = taken(frame)
        refused = []
        for token, whole in self._confirms.answer(frame.method.delivery_tag, multiple=frame.method.multiple, taken=good):
            if whole:
                self._tell(Confirmed(token=token))
            else:
                refused.append(token)
        if refused:
            self._refuse(refused)
        elif good:
            self._refusals = 0

    def _refuse(self, tokens: Sequence[int]) -> None:
        """A queue is full: say so after a pause, so that it is not stormed."""
        self._owed.update(dict.fromkeys(tokens))
        if self._waiting:
            return
        self._waiting, self._refusals = True, self._refusals + 1
        seconds = self.line.pause(self._refusals, self._settle)
        self._observe(Refused(again_seconds=seconds))

    def _settle(self) -> None:
        """It may be published again now, if the line is up; if not, once it is."""
        self._waiting = False
        if self._channel is not None:
            owed, self._owed = self._owed, {}
            for token in owed:
                self._tell(Unconfirmed(token=token))

    def _returned(self, _channel: Channel, method: Any, _properties: Any, _body: bytes) -> None:
        required = method.exchange in self._required
        self._observe(Returned(exchange=method.exchange, key=text(method.routing_key), required=required))
        if required:
            self.line.renew(f"no queue takes what is published to {method.exchange}")


class Consumer:
    """What happens on the thread that consumes."""

    def __init__(
        self,
        line: Callable[..., Line],
        queues: Sequence[str],
        prefetch: int,
        tell: Notify,
        *,
        backlogs: Sequence[str],
        observe: Callable[[Condition], None],
    ) -> None:
        self.line = line("consuming", prepare=self._prepare, gone=self._gone)
        self._queues, self._prefetch, self._tell = queues, prefetch, tell
        self._backlogs, self._observe = backlogs, observe
        self._channel: Channel | None = None
        self._tags = Tags()

    def acknowledge(self, tags: Sequence[int]) -> None:
        """Acknowledge what was delivered on this channel."""
        if self._channel is not None:
            for number, multiple in self._tags.acknowledge(tags):
                self._channel.basic_ack(number, multiple)

    def _prepare(self, channel: Channel, ready: Callable[[], None]) -> None:
        """Consume from each queue; the answer for the last one is the last answer."""
        self._tags.renew()
        self._channel = channel
        channel.basic_qos(prefetch_count=self._prefetch)
        for index, queue in enumerate(self._queues, 1):
            last = (lambda _: ready()) if index == len(self._queues) else None
            channel.basic_consume(queue, partial(self._deliver, queue), consumer_tag=str(index), callback=last)
        if self._backlogs:
            self._look(channel)

    def _look(self, channel: Channel) -> None:
        """Ask how long the queues are, as long as the channel lives; a queue that is missing ends it, to be made again."""
        if self._channel is channel is not None:
            for queue in self._backlogs:
                channel.queue_declare(queue, passive=True, callback=partial(self._counted, queue))
            self.line.later(LOOK_SECONDS, partial(self._look, channel))

    def _counted(self, queue: str, frame: Any) -> None:
        self._observe(Waiting(queue=queue, letters=frame.method.message_count))

    def _gone(self) -> None:
        self._channel = None

    def _deliver(self, queue: str, _channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        self._tell(delivery(self._tags.deliver(method.delivery_tag), queue, method, properties, body))


class Looker:
    """What happens on the thread that looks into a queue: it consumes all letters, and acknowledges none.

    One consumer has them all, and is not cancelled, so that they go back in their order when the connection ends. The queue
    says that it has no more after it has handed out everything; in a cluster another member may hand it out, a little later.
    """

    def __init__(self, line: Callable[..., Line], queue: str) -> None:
        self.line = line("looking", prepare=self._prepare, gone=self._gone)
        self.seen: tuple[Delivery, ...] | None = None  # once all of it was seen
        self._queue = queue
        self._channel: Channel | None = None

    def _prepare(self, channel: Channel, ready: Callable[[], None]) -> None:
        """Look at everything, from the beginning whenever the line comes back."""
        self._channel = channel
        letters: list[Delivery] = []

        def see(_channel: Channel, method: Any, properties: Any, body: bytes) -> None:
            letters.append(delivery(0, self._queue, method, properties, body))

        def rest(seen: int) -> None:
            """Be content when nothing came for a while."""
            if channel is not self._channel:
                return
            if len(letters) > seen:
                self.line.later(QUIET_SECONDS, partial(rest, len(letters)))
                return
            self.seen = tuple(letters)
            ready()

        def asked() -> None:
            """What was handed out before the answer comes before the next one."""
            channel.basic_qos(
                prefetch_count=MOST, callback=lambda _: self.line.later(QUIET_SECONDS, partial(rest, len(letters)))
            )

        channel.basic_qos(prefetch_count=MOST)
        channel.basic_consume(self._queue, see, callback=lambda _: ask_for_more(channel, self._queue, asked))

    def _gone(self) -> None:
        self._channel = None
