"""Subcommand that is a client: its parts, put together."""

import os
import time
from pathlib import Path

import click

from fedkseed import data, settings
from fedkseed.errors import Quarantined
from fedkseed.metrics.services import ClientMetrics
from fedkseed.reactor import Reactor
from fedkseed.transport.topology import personal
from fedkseed_cli.services import DATA, Frame, tell_weights
from fedkseed_client import machine, shell
from fedkseed_client.disk import Disk
from fedkseed_client.events import Event, Started
from fedkseed_client.observer import Observer
from fedkseed_client.worker import Worker


@click.command()
@DATA
def client(source: Path) -> None:
    """Follow rounds and train on private data, which never leaves this machine. Settings: docs/environment.md."""
    chosen = settings.read(settings.ClientSettings, os.environ)
    name, who = chosen.federation, chosen.client_id
    examples = data.read(source)
    disk = Disk(chosen.state_dir)
    state = disk.load(name, who, len(examples))
    frame: Frame[ClientMetrics, Event] = Frame(chosen, who, ClientMetrics, shell.events, named={"client": who})
    process = frame.process
    from fedkseed_client.bench import Bench

    bench = Bench(
        equipment=chosen.equipment,
        examples=examples,
        source=source,
        client=who,
        seed=chosen.seed,
        stepped=frame.metrics.training.stepped,
    )
    worker = Worker(
        measure=lambda assignment, check: bench.measure(reactor.state.replica.genesis or b"", assignment, check),
        report=process.put,
        fail=process.fail,
        hours=chosen.window,
    )
    observer = Observer(frame.metrics, frame.traffic, state, time.monotonic)
    frame.health.needs(observer.missing)
    edge = shell.Shell(
        broker=frame.broker,
        trainer=worker,
        save=disk.save,
        note=disk.note,
        wake=lambda seconds, event: process.later(seconds, lambda: event),
        end=process.stop,
    )
    reactor = Reactor(state, machine.step, edge.carry_out, lambda happening: observer.see(happening, reactor.state))
    topology, queues = personal(name, who), shell.queues(name, who)
    try:
        frame.serve(lambda: process.run(reactor.feed, Started(), topology, queues))
    finally:
        worker.end()
    tell_weights(reactor.state.replica, chosen.equipment)
    if reactor.state.quarantined:
        raise Quarantined(f"federation {name} counts no update of {who} until its operator lifts the quarantine")
