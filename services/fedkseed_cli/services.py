"""What the subcommands that are services have in common: connection, metrics, health, log, signals.

A service logs to standard error, ends in order on SIGTERM or SIGINT, and ends with the exit code of what it cannot wait
out. A broker or ledger that does not answer is waited for. It listens on a port only where its settings say so.
"""

import gc
import logging
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

import click

from fedkseed import logs
from fedkseed.endpoint import Endpoint, Health
from fedkseed.genesis import Genesis
from fedkseed.metrics.registry import CONTENT_TYPE
from fedkseed.metrics.services import ServiceMetrics
from fedkseed.metrics.transport import SocketBytes
from fedkseed.process import Process
from fedkseed.replica import Replica
from fedkseed.settings import Equipment, ServiceEnvironment
from fedkseed.traffic import Traffic
from fedkseed.transport.broker import Notice
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.watched import WatchedBroker

E = TypeVar("E")  # event
M = TypeVar("M", bound=ServiceMetrics)
CYCLES = 50_000  # objects made between two searches for cycles: messages make none, and there are thousands of them
DATA = click.option(
    "--data", "source", required=True, type=click.Path(path_type=Path), help="JSON Lines file or datasets directory."
)


def tell_weights(replica: Replica, own: Equipment) -> None:
    """Say which weights a participant holds in the end: every one of them must say the same.

    Raises:
        BaseError: the base or support is missing or not the one of the federation.
    """
    if replica.genesis is None or replica.held is None or not replica.held.round.last:
        return
    from fedkseed import model

    genesis, held = Genesis.decode(replica.genesis), replica.held
    digest = model.weights_digest(genesis, held.coefficients, own.base, own.support, own.threads)
    logs.info("final weights", version=held.version, weights_digest=digest)


class Frame(Generic[M, E]):
    """A service around its machine: what stands before its reactor is made.

    Args:
        chosen: its settings.
        who: its name, as the broker's operator sees it.
        metrics: makes its metrics, from the bytes on its connections.
        read: turns what the broker said into events.
        named: fields of every line of the log, beside federation and service.
        busy: see Process.
        backlogs: queues whose length is looked at now and then.
        backlog: told of it.

    Raises:
        SettingError: the URL is none of RabbitMQ.
    """

    def __init__(
        self,
        chosen: ServiceEnvironment,
        who: str,
        metrics: Callable[[Callable[[], SocketBytes]], M],
        read: Callable[[Sequence[Notice]], Iterable[E]],
        *,
        named: Mapping[str, str] | None = None,
        busy: Callable[[], bool] = lambda: False,
        backlogs: Sequence[str] = (),
        backlog: Callable[[M, str, int], None] = lambda _metrics, _queue, _letters: None,
    ) -> None:
        gc.disable()  # until it serves: imports make a million objects, and no garbage worth a quarter of their time
        self._listen = chosen.metrics_listen
        server = Server(str(chosen.amqp_url), f"fedkseed {who}", chosen.tls)
        self.user = server.user
        self.metrics = metrics(lambda: rabbit.traffic())  # noqa: PLW0108 - made below
        self.traffic = Traffic(
            self.metrics.transport,
            server.user,
            waiting=lambda: self.health.tried(),  # noqa: PLW0108 - made below
            backlog=lambda queue, letters: backlog(self.metrics, queue, letters),
        )
        rabbit = RabbitBroker(server, dice=Random(), observe=self.traffic.became, backlogs=backlogs)  # noqa: S311 - pauses are no secret
        self.broker = WatchedBroker(rabbit, self.traffic.passed)
        self.process: Process[E] = Process(self.broker, read, busy)
        self.health = Health(self.process.answers)
        self.health.needs(self.traffic.missing)
        logs.set_up(chosen.log, {"federation": chosen.federation, "service": self.metrics.service, **(named or {})})
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it says is said by our own conditions

    def serve(self, run: Callable[[], None]) -> None:
        """Run, in sight of whoever may look; a signal asks the process to stop.

        Raises:
            SettingError: nobody can listen where the settings say so.
            FedkseedError: what cannot be waited out.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.process.stop())
        gc.freeze()
        gc.set_threshold(CYCLES)
        gc.enable()
        with ExitStack() as ending:
            if self._listen:
                registry = self.metrics.registry.with_process()
                endpoint = Endpoint(self._listen, self.health, lambda: (CONTENT_TYPE, registry.text()))
                ending.callback(endpoint.close)
            run()
