"""Subcommands that are services: put the parts together, run until told to stop.

A service logs to standard error, ends in order on SIGTERM or SIGINT, and ends with the exit code of what it cannot wait
out. A broker or ledger that does not answer is waited for.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import click

from fedkseed import data, settings
from fedkseed.errors import BrokerError
from fedkseed.ledger.redis import RedisLedger
from fedkseed.process import Process
from fedkseed.reactor import Reactor
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import personal, shared
from fedkseed_aggregator import machine as aggregating
from fedkseed_aggregator import shell as aggregator_shell
from fedkseed_aggregator import witness
from fedkseed_aggregator.events import Event as AggregatorEvent
from fedkseed_aggregator.events import Started as AggregatorStarted
from fedkseed_aggregator.events import Ticked
from fedkseed_aggregator.patience import PatientLedger
from fedkseed_client import machine as client_machine
from fedkseed_client import shell as client_shell
from fedkseed_client.disk import Disk
from fedkseed_client.events import Event as ClientEvent
from fedkseed_client.events import Started as ClientStarted
from fedkseed_client.worker import Worker
from fedkseed_evaluator import machine as evaluating
from fedkseed_evaluator import shell as evaluator_shell

TICK_SECONDS = 2.0  # how soon an aggregator notices what others did to the ledger
LOG = logging.getLogger("fedkseed")
DATA = click.option(
    "--data", "source", required=True, type=click.Path(path_type=Path), help="JSON Lines file or datasets directory."
)


@click.command()
def aggregator() -> None:
    """Open and close rounds, fold updates, answer participants. Several may run at once. Settings: docs/environment.md."""
    chosen = settings.read(settings.AggregatorSettings, os.environ)
    name = chosen.federation
    broker = _broker(str(chosen.amqp_url), "aggregator")
    process: Process[AggregatorEvent] = Process(broker, aggregator_shell.events, busy=lambda: bool(reactor.state.unconfirmed))
    ledger = RedisLedger(str(chosen.redis_url), name)
    store = PatientLedger(ledger, process.stopping)
    shell = aggregator_shell.Shell(
        store=store,
        broker=broker,
        wake=lambda at_seconds, event: process.later(at_seconds - store.now(), lambda: event),
    )
    reactor = Reactor(aggregating.State(federation=name), aggregating.step, shell.carry_out, _log)

    def tick() -> AggregatorEvent:
        process.later(TICK_SECONDS, tick)
        return Ticked()

    def run() -> None:
        try:
            witness.question(store, broker, name, process.stopping.wait)
        except BrokerError:
            if not process.stopping.is_set():
                raise
        if not process.stopping.is_set():
            process.run(reactor.feed, AggregatorStarted(), shared(name), aggregator_shell.queues(name))

    process.later(TICK_SECONDS, tick)
    _run(process, run)


@click.command()
@DATA
def client(source: Path) -> None:
    """Follow rounds and train on private data, which never leaves this machine. Settings: docs/environment.md."""
    chosen = settings.read(settings.ClientSettings, os.environ)
    name, who = chosen.federation, chosen.client_id
    examples = data.read(source)
    disk = Disk(chosen.state_dir)
    broker = _broker(str(chosen.amqp_url), who)
    process: Process[ClientEvent] = Process(broker, client_shell.events)
    from fedkseed_client.bench import Bench

    bench = Bench(
        base=chosen.base,
        support=chosen.support,
        examples=examples,
        source=source,
        client=who,
        seed=chosen.seed,
        threads=chosen.threads,
    )
    worker = Worker(
        measure=lambda assignment, check: bench.measure(reactor.state.replica.genesis or b"", assignment, check),
        report=process.put,
        fail=process.fail,
        hours=chosen.window,
    )
    shell = client_shell.Shell(
        broker=broker,
        trainer=worker,
        save=disk.save,
        note=disk.note,
        wake=lambda seconds, event: process.later(seconds, lambda: event),
        end=process.stop,
    )
    reactor = Reactor(disk.load(name, who, len(examples)), client_machine.step, shell.carry_out, _log)
    topology, queues = shared(name) | personal(name, who), client_shell.queues(name, who)
    _run(process, lambda: process.run(reactor.feed, ClientStarted(), topology, queues))


@click.command()
@DATA
def evaluator(source: Path) -> None:
    """Score versions on held-out data and publish the scores. Settings: docs/environment.md."""
    chosen = settings.read(settings.EvaluatorSettings, os.environ)
    name, who = chosen.federation, chosen.evaluator_id
    examples = data.read(source)
    broker = _broker(str(chosen.amqp_url), who)
    process: Process[evaluating.Event] = Process(broker, evaluator_shell.events)
    from fedkseed_evaluator.scoring import Scorer

    scorer = Scorer(
        base=chosen.base, support=chosen.support, examples=examples, source=source, plan=chosen.plan, threads=chosen.threads
    )

    def begin(effect: evaluating.Evaluate) -> None:
        def work() -> None:
            try:
                process.put(scorer.evaluate(reactor.state.replica.genesis or b"", effect))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the process must know
                process.fail(error)

        threading.Thread(target=work, name="scoring", daemon=True).start()

    shell = evaluator_shell.Shell(
        broker=broker,
        evaluate=begin,
        wake=lambda seconds, event: process.later(seconds, lambda: event),
        end=process.stop,
    )
    reactor = Reactor(evaluating.new(name, who, chosen.every), evaluating.step, shell.carry_out, _log)
    topology, queues = shared(name) | personal(name, who), evaluator_shell.queues(name, who)
    _run(process, lambda: process.run(reactor.feed, evaluating.Started(), topology, queues))


def _broker(url: str, name: str) -> RabbitBroker:
    return RabbitBroker(Server(url, f"fedkseed {name}"), dice=Random(), observe=lambda condition: LOG.info("%s", condition))  # noqa: S311 - pauses are no secret


def _log(happening: Any) -> None:
    """Every event and effect by name; the whole of it only where somebody debugs."""
    LOG.debug("%s", happening)


def _run(process: Process[Any], run: Callable[[], None]) -> None:
    """Run until a signal asks to end."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it says is said by our own conditions
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop())
    run()
