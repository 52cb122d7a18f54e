"""`fedkseed doctor` against real servers: what it finds, what it advises, and that it changes nothing."""

import json
import re
from contextlib import closing
from dataclasses import replace
from urllib.parse import quote

import pika
import pytest

from fedkseed import federation as settings
from fedkseed import model
from fedkseed.codec import decode, encode
from fedkseed.ledger.fold import announced
from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.broker import Confirmed
from fedkseed.transport.topology import (
    archive,
    archive_stream,
    last_queue,
    mailbox_queue,
    to_aggregator,
    to_all,
    updates_queue,
)
from fedkseed_client.disk import Disk
from fedkseed_client.machine import new
from fedkseed_local.servers import RedisServer, free_port
from tests.embedded import TALK, TOY, described, fedkseed, write_rows, write_toml
from tests.ledgers import NAME, genesis, policy
from tests.parties import UPDATES, F
from tests.servers import freeze, running, thaw


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Run the doctor in an environment; gives its exit code and its findings by what was looked at."""

    def call(*arguments, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(f"FEDKSEED_{name}", str(value))
        capsys.readouterr()
        code, said = fedkseed(monkeypatch, "doctor", "--json", *arguments), capsys.readouterr()
        told = json.loads(said.out)
        assert (code, told["well"], said.err.count("\n")) in ((0, True, 0), (90, False, 1))
        found = {finding["what"]: finding for finding in told["findings"]}
        assert all(finding["advice"] for finding in found.values() if finding["mark"] in ("warning", "wrong"))
        return code, found

    return call


@pytest.fixture
def founded(server, tiny_base, tmp_path):
    """The environment of a federation on the tiny base, whose first round is announced."""
    federation = settings.load(write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path) | {"name": F}))
    written = model.found(federation, model.open_base(tiny_base)).encode()
    with closing(RedisLedger.found(server.url, written, federation.policy)) as store:
        store.transact(lambda head, _: announced(head, 0, 0))
    return {"REDIS_URL": server.url, "BASE": tiny_base}


@pytest.fixture
def served(rabbit, vhost, place):
    """The environment of a broker at which an aggregator and the client ann have been, and gone."""
    place.participant("ann").broker.close()
    return {"FEDERATION": F, "AMQP_URL": rabbit.url(vhost)}


def marks(found, *names):
    return [found[name]["mark"] for name in names]


def test_where_all_is_well_everything_is_looked_at_and_good(doctor, founded, served, tmp_path):
    Disk(tmp_path / "ann").save(new(F, "ann", 40))
    rows = write_rows(tmp_path / "ann.jsonl", TOY)
    code, found = doctor("--data", rows, CLIENT_ID="ann", STATE_DIR=tmp_path / "ann", **served, **founded)
    assert code == 0
    assert {finding["mark"] for finding in found.values()} == {"ok"}
    assert "RabbitMQ 3." in found["broker"]["found"]
    assert found["permissions"]["found"] == "enough for client ann"
    assert "open, version 0" in found["ledger"]["found"]
    assert "40 examples, they fit the objective" in found["data"]["found"]
    assert "the one of the federation" in found["base model"]["found"]


def test_what_is_not_set_is_not_checked_and_named(doctor):
    code, found = doctor()
    assert code == 0
    assert {name: finding["found"] for name, finding in found.items() if finding["mark"] == "not checked"} == {
        "broker": "FEDKSEED_AMQP_URL is not set",
        "redis": "FEDKSEED_REDIS_URL is not set",
        "clock": "FEDKSEED_REDIS_URL is not set, and there is no other clock to compare with",
        "ledger": "FEDKSEED_REDIS_URL is not set",
        "state directory": "FEDKSEED_STATE_DIR is not set",
        "base model": "FEDKSEED_BASE is not set",
        "data": "--data is not given",
    }
    assert found["program"]["mark"] == "ok"


def test_a_line_says_what_is_wrong_and_what_to_do(monkeypatch, capsys):
    monkeypatch.setenv("FEDKSEED_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert fedkseed(monkeypatch, "doctor") == 90
    said = capsys.readouterr()
    (line,) = (line for line in said.out.splitlines() if line.startswith("wrong "))
    assert "redis" in line
    assert "see that Redis runs" in line
    assert said.err == "fedkseed: 1 of 6 checks found something wrong: redis\n"


def test_a_wrong_password_is_found(doctor, rabbit, vhost):
    code, found = doctor(AMQP_URL=rabbit.url(vhost, password="wrong"))
    assert (code, *marks(found, "broker")) == (90, "wrong")
    assert "ACCESS_REFUSED" in found["broker"]["found"]
    assert "correct user, password" in found["broker"]["advice"]


def test_a_broker_that_is_not_there_is_not_waited_for(doctor):
    code, found = doctor(AMQP_URL=f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F")
    assert (code, *marks(found, "broker")) == (90, "wrong")
    assert "Connection refused" in found["broker"]["found"]
    assert "see that RabbitMQ runs" in found["broker"]["advice"]


def test_a_broker_that_does_not_move_any_more_is_not_waited_for(doctor, rabbit, vhost):
    freeze(rabbit)
    try:
        code, found = doctor(AMQP_URL=rabbit.url(vhost))
    finally:
        thaw(rabbit)
    assert (code, *marks(found, "broker")) == (90, "wrong")
    assert "imeout" in found["broker"]["found"]


def test_queues_that_are_not_there_yet_are_no_fault_and_are_not_made(doctor, rabbit, vhost):
    code, found = doctor(FEDERATION=F, CLIENT_ID="ann", AMQP_URL=rabbit.url(vhost))
    assert (code, *marks(found, "broker", "queues and exchanges")) == (0, "ok", "not known")
    for missing in (f"queue {mailbox_queue(F, 'ann')}", f"exchange fedkseed.{F}.rounds", f"exchange {UPDATES.exchange}"):
        assert missing in found["queues and exchanges"]["found"]
    assert rabbit.ask("GET", f"queues/{quote(vhost, safe='')}") == []


def test_a_queue_of_another_kind_is_found(doctor, rabbit, vhost):
    with closing(pika.BlockingConnection(pika.URLParameters(rabbit.url(vhost)))) as connection:
        connection.channel().queue_declare(updates_queue(F), durable=True)
    code, found = doctor(FEDERATION=F, AMQP_URL=rabbit.url(vhost))
    assert (code, *marks(found, "queues and exchanges")) == (90, "wrong")
    assert updates_queue(F) in found["queues and exchanges"]["found"]


@pytest.mark.parametrize(
    ("variables", "role"),
    [({}, "an aggregator"), ({"CLIENT_ID": "ann"}, "client ann"), ({"EVALUATOR_ID": "ann"}, "evaluator ann")],
    ids=["aggregator", "client", "evaluator"],
)
def test_looking_takes_nothing_and_leaves_nothing(doctor, served, place, variables, role):
    owner = place.aggregator()
    owner.send(to_aggregator(F, "update", "ann"), b"one", token=1)
    place.until(lambda: owner.answers)
    code, found = doctor(**served, **variables)
    assert (code, found["permissions"]["found"]) == (0, f"enough for {role}")
    reader = place.aggregator(updates_queue(F))
    place.until(lambda: reader.deliveries)
    owner.send(to_aggregator(F, "update", "ann"), b"two", token=2)
    place.until(lambda: len(reader.deliveries) == 2)
    assert reader.bodies == [b"one", b"two"], "everything is still bound, and nothing else was published"
    assert not any(delivery.redelivered for delivery in reader.deliveries)


@pytest.mark.parametrize("right", ["configure", "write", "read"])
def test_what_a_user_may_not_do_is_found(doctor, served, rabbit, vhost, right):
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann", **{right: "^$"})
    code, found = doctor(FEDERATION=F, CLIENT_ID="ann", AMQP_URL=rabbit.url(vhost, user="ann", password="ann"))
    rabbit.remove_user("ann")
    assert (code, *marks(found, "broker", "permissions")) == (90, "ok", "wrong")
    assert "ACCESS_REFUSED" in found["permissions"]["found"]


def test_a_routing_key_that_a_user_may_not_use_is_found(doctor, served, rabbit, vhost):
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann")
    exchange = to_aggregator(F, "update", "ann").exchange
    rights = {"exchange": exchange, "write": r"^\w+\.{username}$", "read": ".*"}
    rabbit.ask("PUT", f"topic-permissions/{quote(vhost, safe='')}/ann", rights)
    url = rabbit.url(vhost, user="ann", password="ann")
    code, found = doctor(FEDERATION=F, CLIENT_ID="ann", AMQP_URL=url)
    assert (code, *marks(found, "permissions")) == (0, "ok")
    code, found = doctor(FEDERATION=F, CLIENT_ID="bob", AMQP_URL=url)
    rabbit.remove_user("ann")
    assert (code, *marks(found, "permissions")) == (90, "wrong")
    assert "publish update.bob" in found["permissions"]["found"]


def test_an_archive_is_looked_at_by_who_may_read_it(doctor, served, place):
    code, found = doctor(**served)
    assert (code, *marks(found, "archive")) == (0, "not checked")
    code, found = doctor(ARCHIVE="true", **served)
    assert (code, *marks(found, "queues and exchanges", "archive")) == (90, "ok", "wrong")
    place.somebody(archive(F))
    code, found = doctor(ARCHIVE="true", **served)
    assert (code, *marks(found, "archive")) == (0, "ok")
    code, found = doctor(ARCHIVE="false", **served)
    assert (code, *marks(found, "archive")) == (0, "warning")
    code, found = doctor(ARCHIVE="true", CLIENT_ID="ann", **served)
    assert (code, found.keys() & {"archive"}) == (0, set())


@pytest.mark.parametrize("right", ["configure", "write", "read"])
@pytest.mark.usefixtures("served")
def test_an_archive_that_a_user_may_not_use_is_found(doctor, place, rabbit, vhost, right):
    place.somebody(archive(F))
    rabbit.add_user("ann")
    rabbit.permit(vhost, "ann", **{right: rf"^(?!{re.escape(archive_stream(F))}$)"})
    code, found = doctor(FEDERATION=F, ARCHIVE="true", AMQP_URL=rabbit.url(vhost, user="ann", password="ann"))
    rabbit.remove_user("ann")
    assert (code, *marks(found, "permissions", "archive")) == (90, "ok", "wrong")
    assert "ACCESS_REFUSED" in found["archive"]["found"]


def test_a_broker_that_is_short_of_memory_says_so(doctor, served, rabbit):
    rabbit.control("set_vm_memory_high_watermark", "absolute", "1")
    try:
        code, found = doctor(CLIENT_ID="ann", **served)
    finally:
        rabbit.control("set_vm_memory_high_watermark", "0.4")
    assert (code, *marks(found, "broker", "broker resources")) == (90, "ok", "wrong")


def test_a_redis_that_may_lose_a_ledger_is_found(doctor, tmp_path):
    lax = {"appendonly": "no", "appendfsync": "everysec", "maxmemory-policy": "allkeys-lru", "maxmemory": "1gb"}
    with running(RedisServer(tmp_path, lax)) as server:
        code, found = doctor(REDIS_URL=server.url)
    assert code == 90
    told = marks(found, "redis", "redis appendonly", "redis appendfsync", "redis maxmemory-policy", "redis memory")
    assert told == ["ok", "wrong", "wrong", "wrong", "ok"]
    assert "appendonly yes" in found["redis appendonly"]["advice"]
    assert "limit of 1024 MiB" in found["redis memory"]["found"]


def test_what_redis_may_not_say_is_not_known_and_no_fault(doctor, server, raw):
    raw.execute_command("ACL", "SETUSER", "ann", "on", ">ann", "~*", "+@all", "-config", "-info")
    code, found = doctor(REDIS_URL=f"redis://ann:ann@127.0.0.1:{server.port}/0")
    raw.execute_command("ACL", "DELUSER", "ann")
    assert code == 0
    assert marks(found, "redis", "redis appendonly", "redis appendfsync", "clock") == ["not known"] * 3 + ["ok"]


def test_a_federation_that_was_not_founded_is_found(doctor, server):
    code, found = doctor(FEDERATION="other", REDIS_URL=server.url)
    assert (code, *marks(found, "redis", "ledger")) == (90, "ok", "wrong")
    assert "fedkseed init" in found["ledger"]["advice"]


def test_a_round_that_is_not_announced_is_a_warning(doctor, server):
    RedisLedger.found(server.url, genesis(), policy()).close()
    code, found = doctor(FEDERATION=NAME, REDIS_URL=server.url)
    assert (code, *marks(found, "ledger", "announcement")) == (0, "ok", "warning")


def test_a_ledger_that_was_set_back_is_found_by_what_the_broker_remembers(doctor, founded, served, place):
    code, found = doctor(**served, **founded)
    assert (code, *marks(found, "ledger", "witness")) == (0, "ok", "warning")
    assert "remembers no announcement" in found["witness"]["found"]
    head = RedisLedger.open(founded["REDIS_URL"], F).head()
    owner = place.aggregator()
    for token, version in enumerate((0, 2)):
        owner.send(to_all(F), encode(replace(head.round, version=version)), token=token)
        place.until(lambda token=token: Confirmed(token=token) in owner.notices)
        code, found = doctor(**served, **founded)
        assert (code, *marks(found, "witness")) == ((0, "ok"), (90, "wrong"))[token]
    assert "version 2, attempt 0" in found["witness"]["found"]
    (last,) = owner.broker.look(last_queue(F))
    assert decode(last.body).version == 2


def test_another_base_and_data_for_another_objective_are_found(doctor, server, tiny_base, tmp_path):
    RedisLedger.found(server.url, genesis(), policy()).close()
    rows = write_rows(tmp_path / "ann.jsonl", TALK)
    code, found = doctor("--data", rows, FEDERATION=NAME, REDIS_URL=server.url, BASE=tiny_base)
    assert code == 90
    assert marks(found, "base model") == ["wrong"]
    code, found = doctor("--data", tmp_path / "none.jsonl", BASE=tmp_path / "none")
    assert (code, *marks(found, "base model", "data")) == (90, "wrong", "wrong")


def test_a_state_directory_of_somebody_else_is_found_and_a_missing_one_is_not_made(doctor, tmp_path):
    code, found = doctor(STATE_DIR=tmp_path / "new", FEDERATION=F, CLIENT_ID="ann")
    assert (code, *marks(found, "state directory")) == (0, "ok")
    assert not (tmp_path / "new").exists()
    Disk(tmp_path / "bob").save(new(F, "bob", 1))
    code, found = doctor(STATE_DIR=tmp_path / "bob")
    assert (code, *marks(found, "state directory")) == (90, "wrong")
    (tmp_path / "file").write_text("")
    code, found = doctor(STATE_DIR=tmp_path / "file" / "ann")
    assert (code, *marks(found, "state directory")) == (90, "wrong")


def test_a_state_directory_of_another_federation_of_that_name_is_found(doctor, founded, tmp_path):
    state = new(F, "ann", 1)
    Disk(tmp_path / "ann").save(replace(state, replica=replace(state.replica, genesis=genesis(federation=F))))
    code, found = doctor(FEDERATION=F, CLIENT_ID="ann", STATE_DIR=tmp_path / "ann", **founded)
    assert (code, *marks(found, "ledger", "base model", "state directory")) == (90, "ok", "ok", "wrong")
