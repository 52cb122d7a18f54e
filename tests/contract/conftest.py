"""Real servers for the adapters that need them."""

from collections.abc import Iterator

import pytest
import redis

from fedkseed_local.servers import RedisServer
from tests.parties import RealPlace, at
from tests.rabbits import rabbit, vhost
from tests.servers import clear, redis_server, shared_redis
from tests.wires import Wire

__all__ = ["rabbit", "redis_server", "shared_redis", "vhost"]


@pytest.fixture
def server(shared_redis) -> RedisServer:
    """A running Redis with nothing in it."""
    clear(shared_redis)
    return shared_redis


@pytest.fixture
def raw(server) -> Iterator[redis.Redis]:
    """Somebody else with access to it."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def wire(server) -> Iterator[Wire]:
    """A wire to it that can break."""
    wire = Wire(server.port)
    yield wire
    wire.close()


@pytest.fixture
def place(rabbit, vhost) -> Iterator[RealPlace]:
    """A virtual host of a running RabbitMQ."""
    place = at(rabbit.url(vhost))
    yield place
    place.close()


@pytest.fixture
def cable(rabbit) -> Iterator[Wire]:
    """A wire to the node that can break."""
    wire = Wire(rabbit.port)
    yield wire
    wire.close()


@pytest.fixture
def far(rabbit, vhost, cable) -> Iterator[RealPlace]:
    """The same virtual host, at the other end of the wire."""
    far = at(rabbit.url(vhost, port=cable.port))
    yield far
    far.close()
