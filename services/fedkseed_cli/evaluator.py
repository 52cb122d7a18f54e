"""Subcommand that is an evaluator: its parts, put together."""

import os
from pathlib import Path

import click

from fedkseed import data, settings
from fedkseed.background import Background, Cancellation
from fedkseed.metrics.services import EvaluatorMetrics
from fedkseed.reactor import Reactor
from fedkseed.transport.topology import personal
from fedkseed_cli.services import DATA, Frame, tell_weights
from fedkseed_evaluator import machine, shell
from fedkseed_evaluator.machine import Evaluate, Event, Started
from fedkseed_evaluator.observer import Observer


@click.command()
@DATA
def evaluator(source: Path) -> None:
    """Score versions on held-out data and publish the scores. Settings: docs/environment.md."""
    chosen = settings.read(settings.EvaluatorSettings, os.environ)
    name, who = chosen.federation, chosen.evaluator_id
    examples = data.read(source)
    frame: Frame[EvaluatorMetrics, Event] = Frame(chosen, who, EvaluatorMetrics, shell.events, named={"evaluator": who})
    process = frame.process
    from fedkseed_evaluator.scoring import Scorer

    scorer = Scorer(
        equipment=chosen.equipment,
        examples=examples,
        source=source,
        plan=chosen.plan,
    )

    background = Background("scoring", process.fail)

    def evaluate(effect: Evaluate) -> None:
        def score(cancellation: Cancellation) -> None:
            process.put(scorer.evaluate(reactor.state.replica.genesis or b"", effect, cancellation.check))

        background.begin(score)

    state = machine.new(name, who, chosen.every)
    observer = Observer(frame.metrics, frame.traffic, state)
    frame.health.needs(observer.missing)
    edge = shell.Shell(
        broker=frame.broker,
        evaluate=evaluate,
        wake=lambda seconds, event: process.later(seconds, lambda: event),
        end=process.stop,
    )
    reactor = Reactor(state, machine.step, edge.carry_out, lambda happening: observer.see(happening, reactor.state))
    topology, queues = personal(name, who), shell.queues(name, who)
    try:
        frame.serve(lambda: process.run(reactor.feed, Started(), topology, queues))
    finally:
        background.end()
    tell_weights(reactor.state.replica, chosen.equipment)
