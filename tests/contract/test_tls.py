"""TLS to real servers that ask for a certificate: who is let in, and what everybody else is told."""

import datetime as dt
from contextlib import closing

import pytest

from fedkseed.errors import BrokerUntrusted, LedgerUntrusted
from fedkseed.ledger.redis import RedisLedger
from fedkseed.tls import Tls
from fedkseed.transport.line import Server
from fedkseed.transport.topology import NOTHING, updates_queue
from fedkseed.transport.visit import visit
from fedkseed_local.servers import LOOPBACK
from tests.authority import DAY, Authority
from tests.ledgers import NAME, genesis, policy
from tests.parties import UPDATES, F, at
from tests.secured import authority, presenting, secured_rabbit, secured_redis

__all__ = ["authority", "secured_rabbit", "secured_redis"]


@pytest.fixture(scope="module")
def ann(authority) -> Tls:
    return authority.tls(authority.certify("ann"))


def refused_by_broker(port: int, tls: Tls) -> str:
    """What is said to somebody who begins there, and to somebody who only looks."""
    url = f"amqps://guest:guest@{LOOPBACK}:{port}/%2F"
    place = at(url, tls=tls)
    with pytest.raises(BrokerUntrusted) as begun:
        place.aggregator()
    place.close()
    with pytest.raises(BrokerUntrusted) as looked:
        visit(Server(url, "test", tls), NOTHING, (), ())
    assert str(begun.value) == str(looked.value)
    return str(begun.value)


def refused_by_store(port: int, tls: Tls) -> str:
    with pytest.raises(LedgerUntrusted) as caught:
        RedisLedger.open(f"rediss://{LOOPBACK}:{port}/0", NAME, tls=tls)
    return str(caught.value)


BAD = {
    "expired": ({"end": -dt.timedelta(days=1)}, "its certificate has expired"),
    "another host": ({"address": "127.0.0.2"}, "its certificate is for another host"),
}


@pytest.mark.parametrize("refused", [refused_by_broker, refused_by_store])
@pytest.mark.parametrize("fault", BAD)
def test_a_server_with_a_wrong_certificate_is_refused_with_the_reason(authority, fault, refused):
    how, reason = BAD[fault]
    with presenting(authority.certify(fault.replace(" ", "-"), **how)) as port:
        assert refused(port, authority.tls()).endswith(reason)


@pytest.mark.parametrize("refused", [refused_by_broker, refused_by_store])
def test_a_server_of_an_authority_that_is_not_trusted_is_refused(authority, tmp_path, refused):
    stranger = Authority(tmp_path / "stranger", "stranger")
    with presenting(authority.certify("server")) as port:
        for tls in (stranger.tls(), Tls()):
            assert "FEDKSEED_TLS_CA names one" in refused(port, tls)


def test_a_port_without_tls_is_told_as_such(authority, secured_rabbit):
    assert "does not speak TLS" in refused_by_broker(secured_rabbit.port, authority.tls())


@pytest.mark.parametrize("refused", [refused_by_broker, refused_by_store])
def test_who_has_no_certificate_or_one_of_a_stranger_is_told(authority, secured_rabbit, secured_redis, tmp_path, refused):
    port = secured_rabbit.tls_port if refused is refused_by_broker else secured_redis.tls_port
    assert "asks for a client's certificate" in refused(port, authority.tls())
    bob = Authority(tmp_path / "stranger", "stranger").certify("bob")
    assert "does not trust the authority of FEDKSEED_TLS_CERTIFICATE" in refused(port, authority.tls(bob))
    late = authority.certify("late", end=-DAY)
    assert "FEDKSEED_TLS_CERTIFICATE has expired" in refused(port, authority.tls(late))


def test_letters_travel_by_tls(secured_rabbit, ann):
    vhost = secured_rabbit.add_vhost()
    place = at(secured_rabbit.tls_url("guest", "guest", vhost), tls=ann)
    owner = place.aggregator(updates_queue(F))
    owner.send(UPDATES, *(bytes([i]) * 5000 for i in range(100)), token=1)
    place.until(lambda: len(owner.deliveries) == 100 and owner.answers)
    assert visit(Server(secured_rabbit.tls_url("guest", "guest", vhost), "test", ann), NOTHING, (), ()).version
    place.close()


def test_a_ledger_is_kept_by_tls(secured_redis, ann):
    with closing(RedisLedger.found(secured_redis.tls_url(), genesis(), policy(), tls=ann)) as store:
        assert store.head().version == 0
