"""Who may do what, attempted by each user at a real broker that is reached by TLS with a client's certificate."""

import json
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pika
import pytest

from fedkseed.errors import BrokerDenied
from fedkseed.tls import Tls
from fedkseed.transport.line import Server, declare, dial
from fedkseed.transport.rights import CONNECTIONS, of_participant
from fedkseed.transport.topology import archive, personal, shared
from fedkseed_cli import credentials
from fedkseed_cli.management import Management
from tests import matrix
from tests.matrix import ANOTHER, EVERYBODY, MATRIX, OTHER, F
from tests.pages import page, rows
from tests.secured import authority, secured_rabbit

__all__ = ["authority", "secured_rabbit"]
NAMES = {"client": "ann"}  # of roles; others are called as their role
REFUSED = (403, 406)  # access refused; a letter that is signed by somebody else


@pytest.fixture(scope="module")
def ours(authority) -> Tls:
    return authority.tls(authority.certify("member"))


@pytest.fixture(scope="module")
def passwords(secured_rabbit, tmp_path_factory, ours) -> dict[str, str]:
    """Of the users of a federation beside another one, with all declared that aggregators and clients declare."""
    folder = tmp_path_factory.mktemp("credentials")
    credentials.make(F, ("ann", ANOTHER), folder, None, amqps=True, rediss=True)
    secured_rabbit.ask("POST", "definitions", json.loads((folder / "rabbitmq" / "definitions.json").read_text()))
    files = [*folder.glob("*/amqp-url"), *(folder / "clients").iterdir()]
    made = {url.username: url.password for url in (urlsplit(file.read_text()) for file in files)}
    with closing(dial(Server(secured_rabbit.tls_url("guest", "guest"), "test", ours), 5.0)) as connection:
        for federation in (F, OTHER):
            declare(connection.channel(), shared(federation))
    topologies = {"aggregator": shared(F) | archive(F), **{name: personal(F, name) for name in ("ann", ANOTHER, "evaluator")}}
    for name, topology in topologies.items():
        with closing(dial(Server(secured_rabbit.tls_url(name, made[name]), "test", ours), 5.0)) as connection:
            channel = connection.channel()
            declare(channel, topology)
            channel.close()
    with closing(dial(Server(secured_rabbit.tls_url("guest", "guest"), "test", ours), 5.0)) as connection:
        for name in ("monitor", "aggregator", "operator"):  # queues as if they took part
            declare(connection.channel(), personal(F, name))
    return made


@pytest.fixture
def channel_of(secured_rabbit, passwords, ours) -> Iterator:
    connections = []

    def channel(name: str):
        connections.append(dial(Server(secured_rabbit.tls_url(name, passwords[name]), "test", ours), 5.0))
        return connections[-1].channel()

    yield channel
    for connection in connections:
        if connection.is_open:
            connection.close()


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("attempt", MATRIX)
def test_each_may_do_what_is_documented_and_nothing_else(channel_of, who, attempt):
    act, may = MATRIX[attempt]
    name = NAMES.get(who, who)
    channel = channel_of(name)
    if who in may:
        act(channel, name)
        channel.close()
    else:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            act(channel, name)
        assert caught.value.reply_code in REFUSED


def test_the_page_shows_the_same():
    shown = page("security.md").partition("## Who may do what")[2].partition("\n## ")[0]
    assert rows(shown)[1:] == matrix.rows()


def test_only_monitor_and_operator_see_the_pages_of_the_management(secured_rabbit, passwords):
    def sees(name: str) -> bool:
        url = secured_rabbit.operator_url.replace("guest:guest", f"{name}:{passwords[name]}")
        try:
            return Management(url, "/", Tls()).ask("GET", "overview") is not None
        except BrokerDenied:
            return False

    assert {name for name in passwords if sees(name)} == {"monitor", "operator"}


def test_a_participant_has_no_more_connections_than_it_needs(secured_rabbit, channel_of):
    for _ in range(CONNECTIONS):
        channel_of(ANOTHER)
    with pytest.raises(Exception, match="limit"):
        channel_of(ANOTHER)


def test_a_name_with_signs_of_patterns_is_that_name_only():
    rights = of_participant(F, "client", "a-b_c")
    assert "a\\-b_c" in rights.configure
    assert all("a-b_c" in each.replace("\\", "") for each in (rights.configure, rights.write, rights.read))
