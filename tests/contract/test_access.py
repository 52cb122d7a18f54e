"""`fedkseed access`: a participant is let in, works by TLS, and is shut out again, at once."""

import re
import stat
from contextlib import closing
from random import Random

import pytest

from fedkseed.errors import BrokerDenied
from fedkseed.transport.condition import Disconnected
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import NOTHING, mailbox_queue, personal, shared, to_all
from fedkseed_local.servers import free_port
from tests.embedded import fedkseed
from tests.parties import BRIEF, RealPlace, at
from tests.secured import authority, secured_rabbit

__all__ = ["authority", "secured_rabbit"]
F = "f"


@pytest.fixture
def vhost(secured_rabbit) -> str:
    return secured_rabbit.add_vhost()


@pytest.fixture
def access(monkeypatch, capsys, secured_rabbit, vhost, tmp_path):
    """Call the command where a federation is; gives its exit code and what it says."""
    secret = tmp_path / "management"
    secret.write_text(secured_rabbit.operator_url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDKSEED_FEDERATION", F)
    monkeypatch.setenv("FEDKSEED_AMQP_URL", secured_rabbit.tls_url("nobody", "nothing", vhost))
    monkeypatch.setenv("FEDKSEED_MANAGEMENT_URL_FILE", str(secret))

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code, said = fedkseed(monkeypatch, "access", *arguments), capsys.readouterr()
        assert "guest:guest" not in said.out + said.err
        return code, said.out + said.err

    yield call
    for name in ("ann", "eve"):
        fedkseed(monkeypatch, "access", "revoke", name)


def test_who_was_added_takes_part_until_revoked_and_is_cut_off_at_once(access, secured_rabbit, vhost, authority, tmp_path):
    place = at(secured_rabbit.tls_url("guest", "guest", vhost), tls=authority.tls(authority.certify("member")))
    aggregator = place.somebody(shared(F))
    code, said = access("add", "ann", "--out", "ann.url")
    file = tmp_path / "ann.url"
    url = file.read_text().strip()
    assert (code, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    password = re.fullmatch(r"amqps://ann:([0-9a-f]{48})@127\.0\.0\.1:\d+/.*", url)[1]
    assert password not in said
    server = Server(url, "test", authority.tls(authority.certify("ann")))
    there = RealPlace(connect=lambda: None, patience_seconds=60.0)
    there.connect = lambda: RabbitBroker(server, dice=Random(0), observe=there.hear(there.conditions), pauses=BRIEF)
    ann = there.somebody(personal(F, "ann"), mailbox_queue(F, "ann"))
    aggregator.send(to_all(F), b"round")
    there.until(lambda: ann.bodies == [b"round"])
    code, said = access("revoke", "ann")
    assert (code, said) == (0, "ann has no access any more; the ledger is as it was\n")
    there.until(lambda: there.saw(Disconnected, times=2))
    with pytest.raises(BrokerDenied):
        there.somebody(personal(F, "ann"))
    there.close()
    place.close()


def test_those_who_have_access_are_listed_with_limits(access):
    assert access("add", "ann")[0] == 0
    assert access("add", "eve", "--evaluator")[0] == 0
    code, said = access("list")
    assert code == 0
    assert said.splitlines() == ["ann  0 of 8 connections  away", "eve  0 of 8 connections  away"]


def test_connections_are_listed_and_since_when(access, authority, secured_rabbit, tmp_path):
    access("add", "ann")
    server = Server((tmp_path / "ann.amqp-url").read_text().strip(), "test", authority.tls(authority.certify("ann")))
    with closing(RabbitBroker(server, dice=Random(0), pauses=BRIEF)) as broker:
        broker.start(NOTHING, (), lambda _: None)
        while "0 of 8" in access("list")[1]:  # statistics come a little later
            pass
        assert re.fullmatch(r"ann  1 of 8 connections  20\d\d-\S+\+00:00\n", access("list")[1])


def test_nobody_is_added_twice_and_no_file_is_overwritten_or_left(access, tmp_path):
    assert access("add", "ann")[0] == 0
    code, said = access("add", "ann")
    assert (code, "ann.amqp-url: File exists" in said) == (11, True)
    code, said = access("add", "ann", "--out", "other")
    assert (code, said) == (70, "fedkseed: there is a user ann already\n")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["aggregator", "operator", "guest", "a b", "", "a/b", "a" * 65])
def test_names_that_are_no_participants_are_refused(access, name):
    assert access("add", name)[0] == 10


def test_who_is_not_there_cannot_be_revoked(access):
    assert access("revoke", "ann") == (70, "fedkseed: there is no user ann\n")
    assert access("revoke", "guest")[0] == 10


def test_a_management_that_is_not_there_or_refuses_is_told_without_the_password(access, secured_rabbit, monkeypatch):
    monkeypatch.delenv("FEDKSEED_MANAGEMENT_URL_FILE")
    code, said = access("list", "--management-url", f"http://op:secret@127.0.0.1:{free_port()}")
    assert (code, "Connection refused" in said, "secret" in said) == (70, True, False)
    code, said = access("list", "--management-url", secured_rabbit.operator_url.replace("guest:guest", "op:secret"))
    assert (code, "401" in said, "secret" in said) == (71, True, False)
