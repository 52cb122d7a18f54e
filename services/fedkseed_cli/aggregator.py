"""Subcommand that is the aggregator: its parts, put together."""

import os
import time

import click

from fedkseed import settings
from fedkseed.errors import BrokerError
from fedkseed.ledger.redis import RedisLedger
from fedkseed.ledger.store import LedgerStore
from fedkseed.ledger.watched import WatchedLedger
from fedkseed.metrics.services import AggregatorMetrics
from fedkseed.reactor import Reactor
from fedkseed.transport.rights import OPERATOR
from fedkseed.transport.topology import NOTHING, archive, dead_queue, shared
from fedkseed_aggregator import machine, shell, witness
from fedkseed_aggregator.events import Event, Started, Ticked
from fedkseed_aggregator.observer import Observer
from fedkseed_aggregator.patience import PatientLedger
from fedkseed_aggregator.quota import Gate
from fedkseed_cli.services import Frame

TICK_SECONDS = 2.0  # how soon an aggregator notices what others did to the ledger


@click.command()
def aggregator() -> None:
    """Open and close rounds, fold updates, answer participants. Several may run at once. Settings: docs/environment.md."""
    chosen = settings.read(settings.AggregatorSettings, os.environ)
    name = chosen.federation
    updates, requests = chosen.updates_per_minute, chosen.requests_per_minute
    quotas = {"updates": updates, "snapshots": requests, "evaluations": updates}
    frame: Frame[AggregatorMetrics, Event] = Frame(
        chosen,
        "aggregator",
        AggregatorMetrics,
        Gate(quotas, time.monotonic, lambda notices: shell.events(notices, (frame.user, OPERATOR))),
        busy=lambda: bool(reactor.state.unconfirmed),
        backlogs=(*shell.queues(name), dead_queue(name)),
        backlog=lambda metrics, queue, letters: metrics.backlog.waiting(queue, letters),
    )
    process = frame.process
    observer = Observer(
        frame.metrics,
        frame.traffic,
        frame.health.tried,
        time.monotonic,
        log=lambda after: ledger.commits(after),  # noqa: PLW0108 - made below
    )
    frame.health.needs(observer.missing)

    def examine(found: LedgerStore) -> None:
        try:
            witness.question(found, frame.broker, name, process.stopping.wait)
        except BrokerError:
            if not process.stopping.is_set():
                raise

    redis = RedisLedger(str(chosen.redis_url), name, tls=chosen.tls, renew=False)
    ledger = PatientLedger(redis, process.stopping, observer.unanswered, examine)
    store = WatchedLedger(ledger, observer.ledger)
    edge = shell.Shell(
        store=store,
        broker=frame.broker,
        wake=lambda at_seconds, event: process.later(at_seconds - store.now(), lambda: event),
    )
    reactor = Reactor(machine.State(federation=name), machine.step, edge.carry_out, observer)

    def tick() -> Event:
        process.later(TICK_SECONDS, tick)
        return Ticked()

    def run() -> None:
        examine(store)
        if not process.stopping.is_set():
            kept = archive(name) if chosen.archive else NOTHING
            process.run(reactor.feed, Started(), shared(name) | kept, shell.queues(name))

    process.later(TICK_SECONDS, tick)
    frame.serve(run)
