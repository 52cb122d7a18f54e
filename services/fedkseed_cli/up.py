"""Subcommand that runs a whole federation on this machine: real servers, real processes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import click
from rich.console import Console
from rich.live import Live

from fedkseed import data, settings
from fedkseed import federation as description
from fedkseed.errors import LedgerUnreachable
from fedkseed.federation import Federation
from fedkseed.ledger import artifact
from fedkseed.ledger.redis import RedisLedger
from fedkseed.tls import Tls
from fedkseed_cli.dashboard import ROUNDS, dashboard
from fedkseed_cli.history import at, line
from fedkseed_cli.view import View, in_words, look
from fedkseed_local.party import Party, fitted

LOOK_SECONDS = 1.0
LEDGER = "ledger.safetensors"


@click.command()
@click.argument("federation", type=click.Path(path_type=Path), metavar="FEDERATION.TOML")
@click.option("--clients", type=click.IntRange(1), metavar="N", help="How many clients; those of the file without it.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="For all files; runs/NAME without it.")
@click.option("--stay", is_flag=True, help="After the last version, leave servers and aggregator running until Ctrl-C.")
def up(federation: Path, clients: int | None, folder: Path | None, stay: bool) -> None:
    """Run the federation of FEDERATION.TOML on this machine, with real servers and processes.

    An aggregator, an evaluator and clients talk through RabbitMQ and Redis: through those that FEDKSEED_AMQP_URL and
    FEDKSEED_REDIS_URL name, or private ones of the installed packages. It ends after the last version, or by Ctrl-C, in
    order, and leaves ledger.safetensors in DIR. Called again with the same DIR, it goes on where it ended.
    """
    where = settings.read(settings.LocalSettings, os.environ)
    loaded = _for(description.load(federation), clients)
    dataset = data.load(loaded)
    folder = folder or Path("runs") / loaded.name
    amqp_url, redis_url = (None if url is None else str(url) for url in (where.amqp_url, where.redis_url))
    with _asked_to_stop() as stopped, Party(folder, amqp_url, redis_url, where.tls, where.computing) as party:
        if redis_url is None:
            click.echo(f"the ledger is in Redis: export FEDKSEED_FEDERATION={loaded.name} FEDKSEED_REDIS_URL={party.redis_url}")
        with closing(_founded(loaded, party.redis_url, where.tls)) as store:
            party.start(loaded, dataset)
            with _shown() as show:
                _follow(party, store, show, stopped)
            _leave(store, folder / LEDGER)
            while stay and not stopped.wait(LOOK_SECONDS):
                party.check()


def _for(federation: Federation, clients: int | None) -> Federation:
    """The federation for so many clients; what that changes is said."""
    if clients is None:
        return federation
    adapted = fitted(federation, clients)
    for name in ("cohort", "minimum", "participation"):
        before, after = getattr(federation.rounds, name), getattr(adapted.rounds, name)
        if before != after:
            click.echo(f"rounds.{name} is {after:g} here, not {before:g}: there are {clients} clients")
    return adapted


def _founded(federation: Federation, redis_url: str, tls: Tls) -> RedisLedger:
    """Found the federation on its base, or join it where that was done before."""
    from fedkseed import model

    base = model.open_base(federation.model.base, federation.model.support)
    return RedisLedger.found(redis_url, model.found(federation, base).encode(), federation.policy, tls=tls)


def _follow(party: Party, store: RedisLedger, show: Callable[[View], None], stopped: Event) -> None:
    """Show what happens until training is over, or somebody asks to stop."""
    while not stopped.wait(LOOK_SECONDS):
        party.check()
        try:
            view = look(store, ROUNDS)
        except LedgerUnreachable:
            continue  # a Redis that was given may be restarted; the services wait for it too
        show(view)
        if view.head.state == "closed" and party.over:
            return


@contextmanager
def _shown() -> Iterator[Callable[[View], None]]:
    """Somebody to show views to: drawn again and again in a terminal, one line for each happening elsewhere."""
    console = Console()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda view: live.update(dashboard(view), refresh=True)
    else:
        yield Lines().show


class Lines:
    """One line for every version and every evaluation that was not there before."""

    def __init__(self) -> None:
        self._version = 0
        self._scored: set[int] = set()

    def show(self, view: View) -> None:
        """Say what is new."""
        for commit in view.commits:
            if commit.version > self._version:
                click.echo(line(commit, {}))
        for version, scores in sorted(view.head.evaluations.items()):
            if version not in self._scored:
                click.echo(f"version {version}  held-out {in_words(scores)}")
        self._version, self._scored = view.head.version, set(view.head.evaluations)


def _leave(store: RedisLedger, path: Path) -> None:
    """Write the newest version down, and say what it came to."""
    newest = at(store)
    artifact.write(path, newest)
    scores = sorted(store.head().evaluations.items())
    if scores:
        (first, before), (last, after) = scores[0], scores[-1]
        for metric in before.keys() & after.keys():
            click.echo(f"held-out {metric}  {before[metric]:.4f} at version {first}, {after[metric]:.4f} at version {last}")
    click.echo(f"{path}: version {newest.version}, state digest {newest.state.hex()}")


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    """An event that Ctrl-C and SIGTERM set."""
    stopped = Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
