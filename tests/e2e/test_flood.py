"""One participant sends as fast as it can, over real servers, while twenty honest ones work: nothing of theirs is lost."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedkseed.codec import decode, encode
from fedkseed.ledger.redis import RedisLedger
from fedkseed.messages import Receipt, SnapshotRequest, Update
from fedkseed.transport.topology import (
    Binding,
    Queue,
    Topology,
    dead_queue,
    personal,
    shared,
    snapshots_queue,
    to_aggregator,
    to_client,
    updates_queue,
)
from fedkseed_local.services import service
from tests.ledgers import NAME, update
from tests.parties import Owner, RealPlace, at
from tests.processes import until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server
from tests.stores import founded

__all__ = ["rabbit", "redis_server", "vhost"]
HONEST = [f"honest-{i:02}" for i in range(20)]
ROUNDS = 4
FLOOD = """
import sys, pika
url, exchange, key, *bodies = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
properties = pika.BasicProperties(delivery_mode=2)
bodies = [bytes.fromhex(body) for body in bodies]
sent = 0
while True:
    for body in bodies:
        channel.basic_publish(exchange, key, body, properties)
    sent += len(bodies)
    if sent % 1000 == 0:
        print(sent, flush=True)
"""


class Crowd:
    """Twenty clients in one head, and the aggregator that they work for."""

    def __init__(self, store: RedisLedger, place: RealPlace) -> None:
        receipts = Binding(exchange=to_client(NAME, "x").exchange, queue="crowd", pattern="*")
        topology = Topology(exchanges=(), queues=(Queue(name="crowd"),), bindings=(receipts,))
        self.store, self.place = store, place
        self.owner: Owner = place.somebody(shared(NAME) | topology, "crowd")

    def receipts(self) -> list[Receipt]:
        told = (decode(body) for body in self.owner.bodies)
        return [receipt for receipt in told if receipt.client in HONEST]

    def round(self) -> None:
        """Everybody sends an update, and has its receipt."""
        before, head = len(self.receipts()), self.store.head()
        for token, client in enumerate(HONEST):
            self.owner.send(to_aggregator(NAME, "update", client), encode(update(head, client)), token=token)
        self.place.until(lambda: len(self.receipts()) == before + len(HONEST))
        until(lambda: self.store.head().version == head.version + 1)


@pytest.fixture
def crowd(tmp_path, rabbit, vhost, redis_server) -> Iterator[Crowd]:
    store = founded(redis_server.url, cohort=len(HONEST), max_staleness=0)
    place = at(rabbit.url(vhost))
    environment = {"FEDKSEED_FEDERATION": NAME, "FEDKSEED_AMQP_URL": rabbit.url(vhost), "FEDKSEED_REDIS_URL": redis_server.url}
    program = service(["aggregator"], tmp_path / "aggregator.log", environment)
    program.start()
    until(lambda: store.head().announced == (0, 0))
    yield Crowd(store, place)
    program.kill()
    place.close()
    assert "over quota" in program.log.read_text()


@contextmanager
def flood(url: str, kind: str, *bodies: bytes) -> Iterator[subprocess.Popen]:
    """Somebody who publishes at full speed from a process of its own, and never waits for an answer."""
    to = to_aggregator(NAME, kind, "flood")
    command = [sys.executable, "-c", FLOOD, url, to.exchange, to.key, *(body.hex() for body in bodies)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout
        while int(publisher.stdout.readline()) < 5000:
            pass
        yield publisher
        publisher.kill()


def worked(crowd: Crowd) -> None:
    """Some rounds pass; every honest update of them is counted."""
    before = crowd.store.head().version
    for _ in range(ROUNDS):
        crowd.round()
    assert {receipt.outcome for receipt in crowd.receipts()} == {"folded"}
    for commit in crowd.store.commits(before):
        assert [member.client for member in commit.members] == HONEST


def test_a_flood_of_updates_keeps_nobody_out(crowd, rabbit, vhost):
    worked(crowd)
    stranger = Update(
        federation=NAME, client="flood", base=0, state=bytes(16), n=1, k=b"", g=b"", loss=0.0, seconds=0.0, skipped=0
    )
    rubbish = b"rubbish" * 200
    with flood(rabbit.url(vhost), "update", encode(stranger), rubbish) as publisher:
        worked(crowd)
        publisher.kill()
    assert len(crowd.owner.broker.look(dead_queue(NAME))) < 1500
    until(lambda: not crowd.owner.broker.look(updates_queue(NAME)))


def test_a_flood_of_requests_is_not_answered_with_a_larger_one(crowd, rabbit, vhost):
    crowd.place.somebody(shared(NAME) | personal(NAME, "flood"))
    request = SnapshotRequest(federation=NAME, client="flood", have=None)
    with flood(rabbit.url(vhost), "snapshot", encode(request)):
        worked(crowd)
    until(lambda: not crowd.owner.broker.look(snapshots_queue(NAME)))
    mailbox = personal(NAME, "flood").queues[0].name
    assert len(crowd.owner.broker.look(mailbox)) <= 64
