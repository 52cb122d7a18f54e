"""A ledger that was set back, as a whole process finds it: real RabbitMQ, real Redis, a real aggregator."""

import os
import shutil
import signal

import pytest

from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.broker import Confirmed
from fedkseed.transport.topology import last_queue, shared, to_aggregator, updates_queue
from fedkseed_local.services import service
from tests.ledgers import NAME
from tests.processes import until
from tests.stores import fill, founded, stored


@pytest.fixture
def aggregators(tmp_path, rabbit, vhost, redis_server):
    """Two processes that are not running yet."""
    environment = {
        "FEDKSEED_FEDERATION": NAME,
        "FEDKSEED_AMQP_URL": rabbit.url(vhost),
        "FEDKSEED_REDIS_URL": redis_server.url,
    }
    programs = [service(["aggregator"], tmp_path / f"{name}.log", environment) for name in ("aggregator", "another")]
    yield programs
    for program in programs:
        program.kill()


@pytest.fixture
def aggregator(aggregators):
    """One of them."""
    return aggregators[0]


def come_to(aggregator, server, version: int) -> None:
    """Let an aggregator announce everything up to a version, and stop it."""
    store = RedisLedger.open(server.url, NAME)
    fill(store, version - store.head().version)
    aggregator.start()
    until(lambda: store.head().announced == (version, 0))
    assert aggregator.stop() == 0


def back_up(server, to) -> None:
    """Copy what a Redis has written."""
    server.stop()
    shutil.copytree(server.folder / "appendonlydir", to)
    server.start()


def set_back(server, to) -> None:
    """Have a Redis go on from a copy."""
    files = server.folder / "appendonlydir"
    server.stop()
    shutil.rmtree(files)
    shutil.copytree(to, files)
    server.start()


def test_an_aggregator_refuses_a_ledger_that_was_set_back(place, redis_server, aggregator, tmp_path):
    founded(redis_server.url)
    come_to(aggregator, redis_server, 3)
    back_up(redis_server, tmp_path / "backup")
    come_to(aggregator, redis_server, 5)
    sender = place.somebody(shared(NAME))
    sender.send(to_aggregator(NAME, "update", "ann"), b"update", token=1)
    place.until(lambda: sender.notices == [Confirmed(token=1)])

    set_back(redis_server, tmp_path / "backup")
    before = stored(redis_server)
    (last,) = sender.broker.look(last_queue(NAME))
    aggregator.start()
    until(lambda: aggregator.code is not None)

    assert aggregator.code == 67
    line = aggregator.log.read_text().splitlines()[-1]
    assert line.startswith(f"fedkseed: the ledger of {NAME} is at version 3, attempt 0 (state ")
    assert "but version 5, attempt 0 (state " in line
    assert stored(redis_server) == before
    assert [letter.body for letter in sender.broker.look(last_queue(NAME))] == [last.body]
    assert [letter.redelivered for letter in sender.broker.look(updates_queue(NAME))] == [False]


def test_who_stood_still_while_redis_was_set_back_refuses_it_too(place, redis_server, aggregators, tmp_path):
    """It has seen less of the ledger than there is left, so that only the broker can tell."""
    slow, another = aggregators
    founded(redis_server.url)
    come_to(another, redis_server, 3)
    slow.start()
    until(lambda: "connected line=consuming" in slow.log.read_text())
    os.kill(slow.pid, signal.SIGSTOP)
    come_to(another, redis_server, 4)
    back_up(redis_server, tmp_path / "backup")
    come_to(another, redis_server, 6)

    set_back(redis_server, tmp_path / "backup")
    before = stored(redis_server)
    os.kill(slow.pid, signal.SIGCONT)
    until(lambda: slow.code is not None)

    assert slow.code == 67
    assert "but version 6, attempt 0 (state " in slow.log.read_text().splitlines()[-1]
    assert stored(redis_server) == before


def test_a_broker_that_was_set_up_anew_is_served_after_a_warning(place, rabbit, vhost, redis_server, aggregator):
    founded(redis_server.url)
    come_to(aggregator, redis_server, 1)
    rabbit.remove_queue(vhost, last_queue(NAME))
    come_to(aggregator, redis_server, 2)
    assert f"remembers no announcement of {NAME}" in aggregator.log.read_text()
    (letter,) = place.somebody(shared(NAME)).broker.look(last_queue(NAME))
    assert letter.body


def test_an_aggregator_that_waits_for_its_witness_can_be_stopped(rabbit, redis_server, aggregator):
    founded(redis_server.url)
    rabbit.kill()
    try:
        aggregator.start()
        until(lambda: "looking" in (aggregator.log.read_text() if aggregator.log.exists() else ""))
        assert aggregator.stop() == 0
    finally:
        rabbit.start()
