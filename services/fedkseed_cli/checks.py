"""What a doctor looks at: asks, reads, and changes nothing. What it sees is judged in `findings`."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from random import Random
from threading import Timer
from urllib.parse import unquote, urlsplit

from fedkseed import data
from fedkseed.errors import FedkseedError, FileError, GenesisMismatch, LedgerDenied, LedgerError, LedgerUnreachable
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger.connection import Connection
from fedkseed.ledger.redis import RedisLedger
from fedkseed.settings import DoctorSettings
from fedkseed.transport.line import Server
from fedkseed.transport.rabbitmq import RabbitBroker
from fedkseed.transport.topology import (
    Address,
    Topology,
    archive_stream,
    personal,
    shared,
    to_aggregator,
    to_all,
    to_client,
    to_dead,
    to_mailbox,
)
from fedkseed.transport.topology import archive as archived
from fedkseed.transport.visit import visit
from fedkseed_aggregator import shell as aggregator_shell
from fedkseed_aggregator.witness import recollect
from fedkseed_cli import findings
from fedkseed_cli.findings import Finding
from fedkseed_client import shell as client_shell
from fedkseed_client.disk import Disk
from fedkseed_evaluator import shell as evaluator_shell

PACKAGES = ("fedkseed", "pika", "redis", "numpy", "torch", "transformers", "numba")
PATIENCE_SECONDS = 5.0  # for a broker that answered a moment ago
NOBODY = "nobody"  # a participant that is not there


def program() -> Finding:
    """Python, and the packages that matter."""
    return findings.program(platform.python_version(), {name: _version(name) for name in PACKAGES})


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def broker(chosen: DoctorSettings) -> Iterator[Finding]:
    """RabbitMQ, and whether this user can do there what its role needs."""
    if chosen.amqp_url is None:
        yield findings.unset("broker", "AMQP_URL")
        return
    role, topology, queues, addresses = _role(chosen)
    url = urlsplit(str(chosen.amqp_url))
    where = f"{url.hostname}, virtual host {unquote(url.path[1:]) or '/'}"
    try:
        sight = visit(Server(str(chosen.amqp_url), "fedkseed doctor", chosen.tls), topology, queues, addresses)
    except FedkseedError as error:
        yield findings.failure("broker", error)
        return
    yield from findings.broker(where, sight, tls=url.scheme == "amqps", local=_local(url.hostname or ""))
    if chosen.federation is None:
        yield findings.unset("queues and exchanges", "FEDERATION")
    else:
        yield from findings.queues(sight, role)


def _role(chosen: DoctorSettings) -> tuple[str, Topology, tuple[str, ...], tuple[Address, ...]]:
    """Who is asking, what it declares, what it consumes, where it publishes."""
    name = chosen.federation
    if name is None:
        return "nobody", Topology(exchanges=(), queues=(), bindings=()), (), ()
    if who := chosen.client_id:
        addresses = tuple(to_aggregator(name, kind, who) for kind in ("snapshot", "update"))
        return f"client {who}", personal(name, who), client_shell.queues(name, who), addresses
    if who := chosen.evaluator_id:
        addresses = tuple(to_aggregator(name, kind, who) for kind in ("snapshot", "evaluation"))
        return f"evaluator {who}", personal(name, who), evaluator_shell.queues(name, who), addresses
    addresses = (to_all(name), to_client(name, NOBODY), to_mailbox(name, NOBODY), to_dead(name))
    return "an aggregator", shared(name), aggregator_shell.queues(name), addresses


def archive(chosen: DoctorSettings) -> Iterator[Finding]:
    """The archive at a broker that is well: there or not, as aggregators are told, and open to who forgets a client."""
    name = chosen.federation
    if chosen.amqp_url is None or name is None or chosen.client_id or chosen.evaluator_id:
        return
    if chosen.archive is None:
        yield findings.unset("archive", "ARCHIVE")
        return
    server, stream = Server(str(chosen.amqp_url), "fedkseed doctor", chosen.tls), archive_stream(name)
    try:
        yield findings.archive(visit(server, shared(name) | archived(name), (stream,), ()), stream, kept=chosen.archive)
    except FedkseedError as error:
        yield findings.failure("archive", error)


def _local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def redis(chosen: DoctorSettings) -> tuple[list[Finding], bytes | None]:
    """Redis, how it is set up, its clock and the ledger; with the genesis, where it can be read."""
    if chosen.redis_url is None:
        return [findings.unset("redis", "REDIS_URL"), findings.no_clock(), findings.unset("ledger", "REDIS_URL")], None
    with closing(Connection(str(chosen.redis_url), chosen.tls)) as link:
        try:
            ahead = _ahead(link)
            found = [*findings.store(link.where, _info(link), _configured(link, "appendfsync")), findings.clock(ahead)]
        except LedgerError as error:
            return [findings.failure("redis", error)], None
    if chosen.federation is None:
        return [*found, findings.unset("ledger", "FEDERATION")], None
    try:
        with closing(RedisLedger.open(str(chosen.redis_url), chosen.federation, tls=chosen.tls)) as store:
            head = store.head()
    except LedgerError as error:
        return [*found, findings.failure("ledger", error)], None
    return [*found, *findings.ledger(head)], head.genesis_bytes


def witness(chosen: DoctorSettings) -> Iterator[Finding]:
    """A ledger that is well against the last announcement that a broker remembers which is well; as an aggregator sees them."""
    if chosen.amqp_url is None or chosen.client_id or chosen.evaluator_id:
        return
    url, name = str(chosen.redis_url), str(chosen.federation)
    server = Server(str(chosen.amqp_url), "fedkseed doctor", chosen.tls)
    ledger = RedisLedger(url, name, tls=chosen.tls)
    with closing(RabbitBroker(server, dice=Random())) as connection, closing(ledger) as store:  # noqa: S311 - pauses are no secret
        patience = Timer(PATIENCE_SECONDS, connection.close)
        patience.start()
        try:
            remembered = recollect(connection, name)
            yield findings.witness(store.head(), remembered)  # read after that
        except FedkseedError as error:
            yield findings.failure("witness", error)
        finally:
            patience.cancel()


def _ahead(link: Connection) -> float:
    """By how many seconds this machine's clock is ahead of Redis's, give or take half a round trip."""
    link.ask(("TIME",))  # the first question also connects
    before = time.time()
    ((seconds, micros),) = link.ask(("TIME",))
    return (before + time.time()) / 2 - (int(seconds) + int(micros) / 1e6)


def _info(link: Connection) -> dict[str, str]:
    """What Redis says of itself; nothing where the user may not ask."""
    try:
        (reply,) = link.ask(("INFO",))
    except LedgerDenied:
        return {}
    pairs = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in pairs}


def _configured(link: Connection, name: str) -> str | None:
    """A setting of Redis; None where the user may not ask, or the command has another name, as hosted ones have it."""
    try:
        (reply,) = link.ask(("CONFIG", "GET", name))
    except LedgerUnreachable:
        raise
    except LedgerError:
        return None
    return str(reply[1].decode()) if reply else None


def state(chosen: DoctorSettings) -> tuple[Finding, bytes | None]:
    """A client's directory; with the genesis that the client keeps there."""
    what = "state directory"
    if chosen.state_dir is None:
        return findings.unset(what, "STATE_DIR"), None
    place = chosen.state_dir.absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return findings.failure(what, FileError(f"{there}: {'not writable' if there.is_dir() else 'not a directory'}")), None
    if there != place:
        return findings.ok(what, f"{place}: not there yet, and can be made"), None
    if chosen.federation is None or chosen.client_id is None:
        return findings.unset(what, "FEDERATION", "CLIENT_ID"), None
    try:
        kept = Disk(place).load(chosen.federation, chosen.client_id, 1)
    except FileError as error:
        return findings.failure(what, error), None
    held = "nothing held yet" if kept.replica.held is None else f"version {kept.replica.held.version}"
    return findings.ok(what, f"{place}: {held}, {len(kept.outbox)} updates not confirmed"), kept.replica.genesis


def agreement(ledger: bytes | None, kept: bytes | None) -> Iterator[Finding]:
    """Whether a client's directory is of the federation in Redis, where both are known."""
    if ledger and kept and ledger != kept:
        digests = tuple(genesis_digest(genesis).hex()[:16] for genesis in (kept, ledger))
        told = f"the state directory is of genesis {digests[0]}, the ledger of {digests[1]}"
        yield findings.failure("state directory", GenesisMismatch(told))


def base(chosen: DoctorSettings, genesis: bytes | None) -> Finding:
    """The base model and its support."""
    what = "base model"
    if chosen.base is None:
        return findings.unset(what, "BASE")
    try:
        from fedkseed import model
    except ModuleNotFoundError as error:
        return findings.lacking(what, str(error.name))
    try:
        opened = model.open_base(chosen.base, chosen.support)
        if genesis:
            model.check(Genesis.decode(genesis), opened)
    except FedkseedError as error:
        return findings.failure(what, error)
    same = "the one of the federation" if genesis else "not compared: neither Redis nor a state directory tells the genesis"
    return findings.ok(what, f"{chosen.base}: {len(opened.parameters)} tensors, {same}")


def examples(source: Path | None, genesis: bytes | None) -> Finding:
    """A client's data."""
    if source is None:
        return Finding(what="data", mark="not checked", found="--data is not given")
    try:
        read = data.read(source)
        if genesis:
            data.check(read, Genesis.decode(genesis).objective, source)
    except FedkseedError as error:
        return findings.failure("data", error)
    fit = "they fit the objective" if genesis else "not compared with an objective, which is not known"
    return findings.ok("data", f"{source}: {len(read)} examples, {fit}")
