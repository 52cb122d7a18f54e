"""The same members of each round give the same ledger: in memory, and through real servers with one aggregator or three."""

from collections.abc import Iterator
from random import Random

import pytest

from fedkseed.codec import decode, encode
from fedkseed.ledger.fold import fold
from fedkseed.ledger.head import Head
from fedkseed.ledger.redis import RedisLedger
from fedkseed.messages import Update
from fedkseed.transport.topology import personal, receipts_queue, shared, to_aggregator
from fedkseed_local.program import Program
from fedkseed_local.services import service
from tests.ledgers import NAME, K, ledger, update
from tests.parties import at
from tests.processes import until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server
from tests.stores import founded

__all__ = ["rabbit", "redis_server", "vhost"]
CLIENTS = [f"c{i}" for i in range(8)]
ROUNDS = 5


@pytest.fixture
def start(tmp_path, rabbit, vhost, redis_server) -> Iterator:
    """Start aggregators on a federation that was founded."""
    running: list[Program] = []
    environment = {"FEDKSEED_FEDERATION": NAME, "FEDKSEED_AMQP_URL": rabbit.url(vhost), "FEDKSEED_REDIS_URL": redis_server.url}

    def call(number: int) -> None:
        for i in range(number):
            running.append(service(["aggregator"], tmp_path / f"{i}.log", environment))
            running[-1].start()

    yield call
    for program in running:
        program.kill()


@pytest.fixture
def place(rabbit, vhost) -> Iterator:
    place = at(rabbit.url(vhost))
    yield place
    place.close()


def measured(head: Head, dice: Random) -> list[Update]:
    """What every client sends on a version: values of all sizes, some seeds more than once."""
    return [
        update(head, client, k=dice.choices(range(K), k=20), g=[dice.gauss(0, 30) for _ in range(20)], n=dice.randrange(1, 50))
        for client in CLIENTS
    ]


def sums(head: Head) -> tuple:
    """All that adds up in a ledger."""
    vectors = head.coefficients, head.residue, head.importance_sums, head.importance_counts
    return head.version, head.digest, tuple(values.tobytes() for values in vectors)


def in_memory() -> list[tuple]:
    """The versions of a federation in which every client takes part in every round."""
    head, dice, versions = ledger(cohort=len(CLIENTS)), Random(5), []
    for _ in range(ROUNDS):
        head, _ = fold(head, measured(head, dice), 1000.0)
        versions.append(sums(head))
    return versions


@pytest.mark.parametrize("aggregators", [1, 3])
def test_the_same_members_give_the_same_ledger(start, place, redis_server, aggregators):
    """Sent in another order, half of them twice."""
    store = founded(redis_server.url, cohort=len(CLIENTS))
    start(aggregators)
    sender, order, dice = place.somebody(shared(NAME)), Random(aggregators), Random(5)
    versions = []
    for version in range(ROUNDS):
        updates = measured(store.head(), dice)
        sent = updates + order.sample(updates, len(updates) // 2)
        order.shuffle(sent)
        for each in sent:
            sender.send(to_aggregator(NAME, "update", each.client), encode(each))
        until(lambda version=version: store.head().version == version + 1)
        versions.append(sums(store.head()))
    assert versions == in_memory()
    for commit in store.commits():
        assert [member.client for member in commit.members] == CLIENTS
    assert sums(RedisLedger.open(redis_server.url, NAME).head()) == versions[-1]


def test_nobody_who_is_silent_delays_a_round_beyond_its_deadline(start, place, redis_server):
    """Seven of eight answer: the round closes with them when its time is up, and the late one is told how late it was."""
    store = founded(redis_server.url, cohort=8, minimum=2, deadline_seconds=2.0, max_staleness=0)
    start(2)
    first = store.head()
    late, *punctual = measured(first, Random(5))
    sender = place.somebody(shared(NAME) | personal(NAME, late.client), receipts_queue(NAME, late.client))
    for each in punctual:
        sender.send(to_aggregator(NAME, "update", each.client), encode(each))
    until(lambda: store.head().version == 1)
    (commit,) = store.commits()
    assert [member.client for member in commit.members] == CLIENTS[1:]
    assert commit.closed_at >= first.round.deadline
    sender.send(to_aggregator(NAME, "update", late.client), encode(late))
    place.until(lambda: len(sender.bodies) == 1)
    receipt = decode(sender.bodies[0])
    assert (receipt.outcome, receipt.staleness, receipt.weight) == ("stale", 1, 0)
