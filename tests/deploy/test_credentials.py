"""The credentials of `fedkseed access definitions`, on a RabbitMQ and a Redis that know nobody else."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import pytest

from fedkseed import federation as settings
from fedkseed import model
from fedkseed.errors import LedgerDenied
from fedkseed.ledger.connection import Connection
from fedkseed.ledger.redis import RedisLedger
from fedkseed.transport.line import declare
from fedkseed.transport.topology import (
    Address,
    mailbox_queue,
    personal,
    receipts_queue,
    shared,
    to_aggregator,
    to_all,
    to_client,
    to_mailbox,
    updates_queue,
)
from fedkseed_local.program import Program, find
from fedkseed_local.servers import LOOPBACK, RabbitServer, RedisServer, ask
from fedkseed_local.services import service
from tests.embedded import TOY, described, write_rows, write_toml
from tests.ledgers import genesis, policy
from tests.pages import ROOT
from tests.processes import until
from tests.servers import running
from tests.watching import RedisExporter, fetch

F, CLIENTS = "toy", ("ann", "bob")


def make(out: Path, *clients: str, namespace: str | None = None, options: tuple[str, ...] = ()) -> None:
    named = [part for client in clients for part in ("--client", client)] + list(options)
    where = ["--namespace", namespace] if namespace else []
    command = [sys.executable, "-m", "fedkseed_cli", "access", "definitions", "--federation", F, *named, "--out", out, *where]
    subprocess.run(command, check=True, capture_output=True)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def credentials(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("credentials")
    make(out, *CLIENTS)
    return out


@pytest.fixture(scope="module")
def broker(credentials, tmp_path_factory) -> Iterator[RabbitServer]:
    definitions = {"load_definitions": str(credentials / "rabbitmq" / "definitions.json")}
    with running(RabbitServer(tmp_path_factory.mktemp("rabbitmq"), settings=definitions)) as server:
        yield server


@pytest.fixture(scope="module")
def store(credentials, tmp_path_factory) -> Iterator[RedisServer]:
    users = {"aclfile": str(credentials / "redis" / "users.acl")}
    with running(RedisServer(tmp_path_factory.mktemp("redis"), users)) as server:
        yield server


@pytest.fixture(scope="module")
def urls(credentials, broker, store, tmp_path_factory) -> Path:
    """The same folders, with the ports of this test's servers."""
    out = tmp_path_factory.mktemp("urls")
    for name, text in contents(credentials).items():
        here = text.replace("@rabbitmq:5672", f"@{LOOPBACK}:{broker.port}").replace("@redis:6379", f"@{LOOPBACK}:{store.port}")
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(here)
    return out


@pytest.fixture
def log_in(urls) -> Iterator:
    """Make channels, with confirms, of whose URL is given."""
    connections = []

    def channel(url: Path):
        connections.append(pika.BlockingConnection(pika.URLParameters(url.read_text().strip())))
        made = connections[-1].channel()
        made.confirm_delivery()
        return made

    yield channel
    for connection in connections:
        if connection.is_open:
            connection.close()


@pytest.fixture
def ann(urls, log_in):
    """A channel of a client's, with everything declared that an aggregator and clients declare."""
    declare(log_in(urls / "aggregator" / "amqp-url"), shared(F))
    for name in CLIENTS:
        declare(log_in(urls / "clients" / name), personal(F, name))
    return log_in(urls / "clients" / "ann")


def publish(channel, to: Address) -> None:
    channel.basic_publish(to.exchange, to.key, b"letter", mandatory=True)


def refused(channel, to: Address) -> bool:
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        publish(channel, to)
    return True


def test_what_is_there_already_stays_and_a_client_can_be_added(credentials, tmp_path):
    out = tmp_path / "copy"
    make(out, *CLIENTS)
    before = contents(out)
    make(out, *CLIENTS)
    assert contents(out) == before
    make(out, *CLIENTS, "cyd")
    after = contents(out)
    assert after.keys() - before.keys() == {"clients/cyd"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"rabbitmq/definitions.json"}
    assert not contents(credentials).items() & before.items()


def test_in_kubernetes_servers_are_named_for_all_namespaces(tmp_path):
    make(tmp_path, "ann", namespace="fedkseed")
    made = contents(tmp_path)
    assert made["monitor/amqp-url"].endswith("@rabbitmq.fedkseed.svc:5672/%2F\n")
    assert made["aggregator/redis-url"].endswith("@redis.fedkseed.svc:6379/0\n")
    named = json.loads(made["monitor/redis-passwords.json"])
    assert named.keys() == {"redis://redis.fedkseed.svc:6379", "redis://monitor@redis.fedkseed.svc:6379"}


def test_by_tls_servers_are_named_with_its_schemes_and_ports(tmp_path):
    make(tmp_path, "ann", options=("--amqps", "--rediss"))
    made = contents(tmp_path)
    for name in ("aggregator/amqp-url", "clients/ann", "evaluator/amqp-url", "monitor/amqp-url", "operator/amqp-url"):
        assert made[name].startswith("amqps://")
        assert made[name].endswith("@rabbitmq:5671/%2F\n")
    for name in ("aggregator/redis-url", "operator/redis-url"):
        assert made[name].startswith("rediss://")
    assert {address.partition("://")[0] for address in json.loads(made["monitor/redis-passwords.json"])} == {"rediss"}


def test_a_client_sends_in_its_own_name_only(ann):
    publish(ann, to_aggregator(F, "update", "ann"))
    assert refused(ann, to_aggregator(F, "update", "bob"))


def test_only_an_evaluator_sends_scores(ann, urls, log_in):
    publish(log_in(urls / "evaluator" / "amqp-url"), to_aggregator(F, "evaluation", "evaluator"))
    assert refused(ann, to_aggregator(F, "evaluation", "ann"))


@pytest.mark.parametrize(
    "to", [to_all(F), to_client(F, "bob"), to_mailbox(F, "bob"), Address(exchange=f"fedkseed.{F}.dead", key="dead")]
)
def test_a_client_writes_to_nobody_but_the_aggregator(ann, to):
    assert refused(ann, to)


def test_a_client_reads_no_receipts_but_its_own(ann):
    ann.basic_get(receipts_queue(F, "ann"))
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        ann.basic_get(receipts_queue(F, "bob"))


@pytest.mark.parametrize("queue", [*(queue.name for queue in shared(F).queues), mailbox_queue(F, "bob")])
def test_a_client_reads_removes_and_declares_no_queue_of_others(ann, urls, log_in, queue):
    for attempt in (
        lambda channel: channel.basic_get(queue),
        lambda channel: channel.queue_purge(queue),
        lambda channel: channel.queue_delete(queue),
        lambda channel: channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"}),
    ):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
            attempt(log_in(urls / "clients" / "ann"))


def test_a_client_cannot_have_the_receipts_of_another_sent_to_it(ann):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        ann.queue_bind(receipts_queue(F, "ann"), f"fedkseed.{F}.receipts", routing_key="bob")


def test_the_monitor_sees_how_long_queues_are_and_takes_no_part(ann, urls, log_in):
    monitor = log_in(urls / "monitor" / "amqp-url")
    assert monitor.queue_declare(updates_queue(F), passive=True).method.message_count >= 0
    assert refused(monitor, to_aggregator(F, "update", "ann"))


def test_there_is_no_guest(broker):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(broker.url()))


def test_who_is_nobody_may_only_ask_whether_redis_is_alive(store):
    assert ask(store.port, b"PING\r\n").startswith(b"+PONG")
    assert ask(store.port, b"GET {toy}:head\r\n").startswith(b"-NOPERM")


def test_the_exporter_of_redis_sees_what_dashboards_show_and_no_key(credentials, store, tmp_path):
    made = json.loads((credentials / "monitor" / "redis-passwords.json").read_text())
    here = {address.replace("redis:6379", f"{LOOPBACK}:{store.port}"): password for address, password in made.items()}
    (tmp_path / "passwords.json").write_text(json.dumps(here))
    settings = {"REDIS_USER": "monitor", "REDIS_PASSWORD_FILE": str(tmp_path / "passwords.json")}
    address = f"redis://{LOOPBACK}:{store.port}"
    with running(RedisExporter(tmp_path, address, settings | {"REDIS_EXPORTER_SET_CLIENT_NAME": "false"})) as exporter:
        page = fetch(exporter.address, "metrics")
        assert 'level=error msg="Redis' not in exporter.log.read_text()
    shown = re.findall(r"\bredis_\w+", (ROOT / "deploy/grafana/dashboards/servers.json").read_text())
    assert {name for name in shown if not re.search(rf"^{name}[ {{]", page, flags=re.MULTILINE)} == set()
    asked = [
        find("redis-cli"),
        "-p",
        str(store.port),
        "--user",
        "monitor",
        "--pass",
        next(iter(made.values())),
        "GET",
        "{toy}:head",
    ]
    assert "NOPERM" in subprocess.run(asked, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("user", ["aggregator", "operator"])
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("CONFIG", "SET", "appendonly", "no"),
        ("ACL", "LIST"),
        ("SHUTDOWN", "NOSAVE"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("EVAL", "return 1", "0"),
        ("SAVE",),
        ("MONITOR",),
        ("PUBLISH", "news", "x"),
        ("RENAME", "{toy}:head", "{toy}:old"),
        ("GET", "{other}:head"),
        ("SET", "{toyota}:head", "x"),
        ("SET", "anything", "x"),
    ],
    ids=" ".join,
)
def test_whoever_writes_the_ledger_can_do_nothing_else_at_redis(urls, user, command):
    with closing(Connection((urls / user / "redis-url").read_text().strip())) as link:
        with pytest.raises(LedgerDenied):
            link.ask(command)
        link.ask(("SET", "{toy}:test", "x"), ("DEL", "{toy}:test"))


def test_redis_is_for_this_federation_only(urls):
    url = (urls / "operator" / "redis-url").read_text().strip()
    with pytest.raises(LedgerDenied):
        RedisLedger.found(url, genesis(), policy())  # of another name


def test_a_federation_trains_with_these_credentials(urls, tiny_base, tmp_path):
    """Every process is given its own files and nothing else, as in containers."""
    file = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path, TOY, rounds={"cohort": 2, "total": 2}))
    federation = settings.load(file)
    founded = model.found(federation, model.open_base(federation.model.base)).encode()
    url = (urls / "operator" / "redis-url").read_text().strip()
    RedisLedger.found(url, founded, federation.policy).close()
    rows = str(write_rows(tmp_path / "rows.jsonl", TOY))

    def party(name: str, *arguments: str, **files: Path) -> Program:
        variables = {"FEDKSEED_FEDERATION": F, "FEDKSEED_BASE": str(tiny_base), "FEDKSEED_STATE_DIR": str(tmp_path / name)}
        given = {f"FEDKSEED_{kind}_URL_FILE": str(path) for kind, path in files.items()}
        return service(arguments, tmp_path / f"{name}.log", variables | given | {"FEDKSEED_CLIENT_ID": name})

    aggregator = party(
        "aggregator", "aggregator", AMQP=urls / "aggregator" / "amqp-url", REDIS=urls / "aggregator" / "redis-url"
    )
    others = [party(name, "client", "--data", rows, AMQP=urls / "clients" / name) for name in CLIENTS]
    others.append(party("evaluator", "evaluator", "--data", rows, AMQP=urls / "evaluator" / "amqp-url"))
    try:
        for program in (aggregator, *others):
            program.start()
        until(lambda: aggregator.code is not None or all(program.code is not None for program in others))
        assert [program.code for program in others] == [0, 0, 0], [program.last_words() for program in others]
        assert aggregator.stop() == 0
    finally:
        for program in (aggregator, *others):
            program.kill()
    with closing(RedisLedger.open(url, F)) as ledger:
        assert ledger.head().version == 2
        assert 2 in ledger.head().evaluations
