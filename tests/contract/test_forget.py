"""Forgetting a client with a real Redis and a real stream: what the command does, and what it refuses."""

import numpy as np
import pytest

from fedkseed.codec import encode
from fedkseed.errors import QueueMissing
from fedkseed.federation import Robust
from fedkseed.ledger.fold import fold
from fedkseed.ledger.log import verify
from fedkseed.transport import archive as kept
from fedkseed.transport.broker import Confirmed
from fedkseed.transport.line import Server
from fedkseed.transport.topology import archive, shared, to_aggregator
from tests.embedded import fedkseed
from tests.ledgers import NAME, K, update
from tests.replays import is_replay
from tests.stores import founded

CLIENTS = ("ann", "bob", "eve")


@pytest.fixture
def said(capsys):
    """The lines that a command has printed."""

    def lines() -> list[str]:
        return capsys.readouterr().out.splitlines()

    return lines


class Federation:
    """A ledger in Redis, beside RabbitMQ."""

    def __init__(self, url, place, topology, **policy) -> None:
        self.store = founded(url, cohort=3, **policy)
        self._place, self._owner = place, place.somebody(topology)
        self._dice = np.random.default_rng(3)

    def round(self) -> None:
        head = self.store.head()
        updates = [self._measured(head, client) for client in CLIENTS]
        for each in updates:
            token = len(self._owner.answers)
            self._owner.send(to_aggregator(NAME, "update", each.client), encode(each), token=token)
            self._place.until(lambda token=token: Confirmed(token=token) in self._owner.answers)
        self.store.transact(lambda head, now: fold(head, updates, now))

    def _measured(self, head, client):
        pairs = int(self._dice.integers(1, 20))
        k, g = self._dice.integers(0, 30, pairs), self._dice.normal(size=pairs) * 4
        return update(head, client, k=k, g=g, n=int(self._dice.integers(1, 60)))


@pytest.fixture
def environment(server, rabbit, vhost, monkeypatch):
    variables = {"FEDERATION": NAME, "REDIS_URL": server.url, "AMQP_URL": rabbit.url(vhost)}
    for name, value in variables.items():
        monkeypatch.setenv(f"FEDKSEED_{name}", value)
    return Server(variables["AMQP_URL"], "test")


@pytest.fixture
def federation_of(server, place):
    """Found a federation beside what a topology declares."""
    return lambda topology, **policy: Federation(server.url, place, topology, **policy)


@pytest.mark.parametrize("robust", [None, Robust(clip=3.0, norm=1.2, quarantine=1e6)], ids=["plain", "robust"])
def test_what_stays_is_byte_for_byte_the_replay_of_the_stream(federation_of, environment, monkeypatch, said, robust):
    federation = federation_of(shared(NAME) | archive(NAME), robust=robust)
    for _ in range(4):
        federation.round()
    assert fedkseed(monkeypatch, "forget", "eve") == 0
    first, second = said()
    assert first == f"{NAME}: version 5 holds nothing that eve has contributed"
    assert second.startswith("its influence on what others measured is not undone")
    federation.round()
    assert fedkseed(monkeypatch, "forget", "bob") == 0
    store = federation.store
    head, commits, bodies = store.head(), tuple(store.commits()), tuple(kept.read(environment, NAME))
    assert len(bodies) == 15
    assert is_replay(head, commits, bodies, lambda client, version: client == "bob" or (client == "eve" and version < 5))
    assert verify(commits, head.genesis_bytes, K) == 7
    assert fedkseed(monkeypatch, "verify") == 0


@pytest.mark.usefixtures("environment")
def test_an_archive_that_began_too_late_is_refused(federation_of, place, monkeypatch, capsys):
    federation = federation_of(shared(NAME))
    federation.round()
    assert fedkseed(monkeypatch, "forget", "eve") == 73
    assert "keep no archive" in capsys.readouterr().err
    place.somebody(archive(NAME))
    federation.round()
    assert fedkseed(monkeypatch, "forget", "eve") == 86
    assert capsys.readouterr().err == "fedkseed: archive: the update of ann on version 0 is missing, for version 1\n"
    assert federation.store.head().version == 2


def test_where_no_archive_is_kept_there_is_none_to_read(rabbit, vhost):
    with pytest.raises(QueueMissing):
        next(kept.read(Server(rabbit.url(vhost), "test"), NAME))
