"""How much Prometheus has to keep does not depend on how many clients there are."""

from contextlib import ExitStack, closing

from fedkseed.codec import encode
from fedkseed.ledger.fold import fold
from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.topology import Binding, Queue, Topology, shared, to_aggregator, to_client
from fedkseed_local.servers import LOOPBACK, free_port
from fedkseed_local.services import service
from tests import ledgers
from tests.deployment import DEPLOY
from tests.parties import at
from tests.processes import until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server, running
from tests.watching import PrometheusServer, fetch

__all__ = ["rabbit", "redis_server", "vhost"]
NAME, COHORT = ledgers.NAME, 10
FEW, MANY = 10, 1000
RECEIPTS = Queue(name="receipts-of-everybody")
EVERYBODY = Topology(
    exchanges=(),
    queues=(RECEIPTS,),
    bindings=(Binding(exchange=to_client(NAME, "").exchange, queue=RECEIPTS.name, pattern="*"),),
)


class Crowd:
    """Clients of whom each takes part in one round: they send updates that are honest, and read receipts."""

    def __init__(self, ledger: RedisLedger, url: str) -> None:
        self._head, self.count, self.place = ledger.head(), 0, at(url)
        self._office = self.place.somebody(shared(NAME) | EVERYBODY, RECEIPTS.name)

    def grow(self, count: int) -> None:
        """Until there were so many of them, a new cohort for each round; waits for their receipts."""
        while self.count < count:
            names = [f"client-{self.count + i:04}" for i in range(COHORT)]
            updates = [ledgers.update(self._head, name, k=(i, 3), g=(0.5, -1.0)) for i, name in enumerate(names)]
            self._head, _ = fold(self._head, updates, 1000.0)
            for one in updates:
                self._office.send(to_aggregator(NAME, "update", one.client), encode(one))
            self.count += COHORT
        self.place.until(lambda: len(self._office.deliveries) == self.count)

    @property
    def version(self) -> int:
        """The version that they have brought about."""
        return self._head.version


def test_a_thousand_clients_are_as_many_series_as_ten(tmp_path, rabbit, vhost, redis_server):
    address = f"{LOOPBACK}:{free_port()}"
    (tmp_path / "prometheus").mkdir()
    rules = DEPLOY / "prometheus" / "rules" / "fedkseed.yml"
    where = {"FEDKSEED_FEDERATION": NAME, "FEDKSEED_AMQP_URL": rabbit.url(vhost), "FEDKSEED_REDIS_URL": redis_server.url}
    aggregator = service(["aggregator"], tmp_path / "log", where | {"FEDKSEED_METRICS_LISTEN": address})
    policy = ledgers.policy(cohort=COHORT, deadline_seconds=3600.0)
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(RedisLedger.found(redis_server.url, ledgers.genesis(), policy)))
        targets = {"fedkseed-aggregator": {"aggregator": address}}
        prometheus = stack.enter_context(running(PrometheusServer(tmp_path / "prometheus", targets, rules)))
        stack.callback(aggregator.kill)
        aggregator.start()
        crowd = Crowd(ledger, rabbit.url(vhost))
        stack.callback(crowd.place.close)

        def series(clients: int) -> dict[str, float]:
            """How many of each name there are when so many clients have taken part."""
            crowd.grow(clients)
            until(lambda: prometheus.answers.now(f"fedkseed_version == {crowd.version} and on () fedkseed_queue_messages"))
            # alerts that are about to fire are series of Prometheus' own
            counts = prometheus.answers.now('count by (__name__) ({job="fedkseed-aggregator", __name__!~"ALERTS.*"})')
            return {count.labels["__name__"]: count.numbers[0] for count in counts}

        few, many = series(FEW), series(MANY)
        assert crowd.version == ledger.head().version == MANY / COHORT
        assert {member.client for commit in ledger.commits() for member in commit.members} == {
            f"client-{i:04}" for i in range(MANY)
        }
        assert many == few
        assert sum(few.values()) > 100
        assert "client-" not in fetch(address, "metrics")
