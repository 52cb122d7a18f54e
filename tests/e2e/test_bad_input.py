"""A real aggregator over real servers: what nobody should send it, and what it cannot start with."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgpack
import pytest

from fedkseed.codec import MAX_BYTES, decode, encode
from fedkseed.ledger.fold import snapshot
from fedkseed.ledger.invitation import invited
from fedkseed.ledger.redis import RedisLedger
from fedkseed.messages import Evaluation, Receipt, SnapshotRequest, Update
from fedkseed.transport.topology import Address, Binding, Queue, Topology, shared, to_aggregator, to_client, to_dead
from fedkseed_local.program import Program
from fedkseed_local.servers import RedisServer, free_port
from fedkseed_local.services import service
from tests.ledgers import NAME, K, ledger_bytes, update
from tests.parties import Owner, RealPlace, at
from tests.processes import until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server, running
from tests.stores import folding, founded

__all__ = ["rabbit", "redis_server", "vhost"]
STEPS = 4
EVERYBODY = [f"c{i}" for i in range(64)]


@dataclass
class Siege:
    """A federation at version 3, its aggregator, and a stranger who may publish anything."""

    store: RedisLedger
    aggregator: Program
    place: RealPlace
    stranger: Owner
    undertaker: Owner
    sent: int = field(default=0)

    def send(self, body: bytes, key: str) -> None:
        exchange = to_aggregator(NAME, "update", "x").exchange
        self.sent += 1
        self.stranger.send(Address(exchange=exchange, key=key), body, token=self.sent)

    def said(self) -> list[Receipt]:
        return [decode(body) for body in self.stranger.bodies]

    def answer(self, sent: Update, key: str = "") -> Receipt:
        """The receipt of an update."""
        before = len(self.stranger.bodies)
        self.send(encode(sent), key or f"update.{sent.client}")
        self.place.until(lambda: len(self.stranger.bodies) > before)
        return self.said()[-1]

    def ledger(self) -> bytes:
        """All of the ledger but its answers."""
        return ledger_bytes(replace(self.store.head(), inbox={}), tuple(self.store.commits()))


def names(store: RedisLedger, *, welcome: bool) -> list[str]:
    """Clients that the open round invites, or those that it does not."""
    head = store.head()
    return [name for name in EVERYBODY if invited(head.round.nonce, name, head.round.participation) == welcome]


@pytest.fixture
def siege(tmp_path, rabbit, vhost, redis_server) -> Iterator[Siege]:
    store = founded(redis_server.url, steps=STEPS, max_staleness=1, participation=0.5)
    for _ in range(3):
        store.transact(folding(*(update(store.head(), name) for name in names(store, welcome=True)[:2])))
    place = at(rabbit.url(vhost))
    receipts = Binding(exchange=to_client(NAME, "x").exchange, queue="stranger", pattern="*")
    reading = Topology(exchanges=(), queues=(Queue(name="stranger"),), bindings=(receipts,))
    stranger = place.somebody(shared(NAME) | reading, "stranger")
    undertaker = place.somebody(shared(NAME), to_dead(NAME).exchange)
    environment = {"FEDKSEED_FEDERATION": NAME, "FEDKSEED_AMQP_URL": rabbit.url(vhost), "FEDKSEED_REDIS_URL": redis_server.url}
    program = service(["aggregator"], tmp_path / "aggregator.log", environment)
    program.start()
    until(lambda: store.head().announced == (3, 0))
    yield Siege(store=store, aggregator=program, place=place, stranger=stranger, undertaker=undertaker)
    program.kill()
    place.close()


def test_what_cannot_be_read_is_among_the_dead_with_its_reason(siege):
    honest = encode(update(siege.store.head(), "c0"))
    newer = msgpack.packb(msgpack.unpackb(honest) | {"v": 2})
    strange = msgpack.packb(msgpack.unpackb(honest) | {"t": "gossip"})
    uneven = msgpack.packb(msgpack.unpackb(honest) | {"g": b"\0\0\0\0"})
    receipt = Receipt(federation=NAME, client="c0", base=3, outcome="folded", staleness=0, weight=1, version=3, reason="")
    asking = SnapshotRequest(federation=NAME, client="c0", have=None)
    bad = {
        "not msgpack": (b"\xc1 what is this", "update.c0"),
        "not a map": (b"\x93\x01\x02\x03", "update.c0"),
        f"more than {MAX_BYTES}": (bytes(MAX_BYTES + 1), "update.c0"),
        "unknown schema 2": (newer, "update.c0"),
        "unknown type 'gossip'": (strange, "update.c0"),
        "1 seed indices with 2 scalars": (uneven, "update.c0"),
        "Update with routing key update.c1": (honest, "update.c1"),
        "Update with routing key evaluation.c0": (honest, "evaluation.c0"),
        "Receipt in queue": (encode(receipt), "update.c0"),
        "Round in queue": (encode(siege.store.head().round), "update.c0"),
        "Snapshot in queue": (encode(snapshot(siege.store.head())), "snapshot.c0"),
        "SnapshotRequest with routing key update.c0": (encode(asking), "update.c0"),
    }
    before = siege.ledger()
    for body, key in bad.values():
        siege.send(body, key)
    siege.place.until(lambda: len(siege.undertaker.deliveries) == len(bad))
    told = {delivery.body: delivery.headers["reason"] for delivery in siege.undertaker.deliveries}
    reasons = [told[body] if body != honest else "" for body, _ in bad.values()]
    for wanted, reason in zip(bad, reasons, strict=True):
        assert not reason or wanted in reason
    routed = {delivery.headers["reason"] for delivery in siege.undertaker.deliveries if delivery.body == honest}
    assert routed == {wanted for wanted in bad if wanted.startswith("Update with routing key")}
    assert siege.ledger() == before
    _still_works(siege)


def test_values_that_are_wrong_are_refused_with_a_receipt_that_says_why(siege):
    head = siege.store.head()
    known = {name for receipts in head.inbox.values() for name in receipts}
    client = [name for name in names(siege.store, welcome=True) if name not in known]
    bad = {
        ("invalid", "a scalar is not finite"): {"g": (float("nan"),)},
        ("invalid", "a scalar is not finite or"): {"g": (float("inf"),)},
        ("invalid", "or above 32768"): {"g": (40000.0,)},
        ("invalid", f"a seed index is {K} or more"): {"k": (K,)},
        ("invalid", f"more than {STEPS} steps"): {"k": range(5), "g": (1.0,) * 5},
        ("invalid", "n is below 1"): {"n": 0},
        ("mismatch", "this is federation"): {"federation": "another"},
        ("mismatch", "state digest is not that of version 3"): {"state": bytes(16)},
        ("stale", "staleness 2 is above 1"): {"base": 1},
        ("ahead", "the head is version 3"): {"base": 9},
    }
    before = siege.ledger()
    for place, ((outcome, reason), fault) in enumerate(bad.items()):
        receipt = siege.answer(update(head, client[place % len(client)], **fault))
        assert (receipt.outcome, receipt.weight) == (outcome, 0)
        assert reason in receipt.reason
        if outcome == "invalid":  # it is final: the client's next one is another client's
            client.remove(receipt.client)
    stranger = names(siege.store, welcome=False)[0]
    assert siege.answer(update(head, stranger)).outcome == "uninvited"
    assert siege.ledger() == before
    _still_works(siege)


def test_an_update_that_comes_again_gets_its_first_receipt_and_counts_once(siege):
    head, (client, *_) = siege.store.head(), names(siege.store, welcome=True)
    first = siege.answer(update(head, client))
    after = siege.ledger()
    assert siege.answer(update(head, client, g=(2.0,))) == first
    assert first.outcome == "folded"
    assert siege.ledger() == after
    assert len(siege.store.head().pending.members) == 1


def test_scores_of_nothing_or_by_nobody_who_may_are_ignored(siege):
    before, right = siege.ledger(), siege.store.head().digest[:16]
    for client, version, state in (("evaluator", 3, bytes(16)), ("evaluator", 99, right), ("c0", 3, right)):
        scores = Evaluation(
            federation=NAME, client=client, version=version, state=state, metrics={"loss": 0.0}, examples=1, seconds=1.0
        )
        siege.send(encode(scores), f"evaluation.{client}")
    _still_works(siege, before)
    assert not siege.store.head().evaluations


def _still_works(siege: Siege, before: bytes = b"") -> None:
    """The aggregator lives, and folds an honest update."""
    assert siege.aggregator.code is None
    assert not before or siege.ledger() == before
    head = siege.store.head()
    client = next(name for name in names(siege.store, welcome=True) if name not in head.inbox[head.version])
    assert siege.answer(update(head, client)).outcome == "folded"
    assert [member.client for member in siege.store.head().pending.members] == [client]


def started(folder: Path, **variables: str) -> Program:
    program = service(["aggregator"], folder / "aggregator.log", {"FEDKSEED_FEDERATION": NAME, **variables})
    program.start()
    return program


def test_servers_that_are_not_there_are_waited_for(tmp_path, rabbit, vhost):
    """First the broker is missing, then the ledger; it says which, and ends in order when it is asked to."""
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    lonely = started(tmp_path, FEDKSEED_AMQP_URL=f"amqp://127.0.0.1:{free_port()}", FEDKSEED_REDIS_URL=nowhere)
    until(lambda: "disconnected" in lonely.last_words())
    assert lonely.code is None
    assert lonely.stop() == 0
    half = started(tmp_path, FEDKSEED_AMQP_URL=rabbit.url(vhost), FEDKSEED_REDIS_URL=nowhere)
    until(lambda: "waiting for the ledger" in half.last_words())
    assert half.code is None
    half.kill()


def test_what_waiting_does_not_mend_is_an_exit_code(tmp_path, rabbit, vhost, redis_server):
    wrong = rabbit.url(vhost, password="wrong")
    refused = started(tmp_path, FEDKSEED_AMQP_URL=wrong, FEDKSEED_REDIS_URL=redis_server.url)
    until(lambda: refused.code == 71)
    unfounded = started(tmp_path, FEDKSEED_AMQP_URL=rabbit.url(vhost), FEDKSEED_REDIS_URL=redis_server.url)
    until(lambda: unfounded.code == 68)
    (tmp_path / "guarded").mkdir()
    with running(RedisServer(tmp_path / "guarded", {"requirepass": "right"})) as guarded:
        denied = started(tmp_path, FEDKSEED_AMQP_URL=rabbit.url(vhost), FEDKSEED_REDIS_URL=guarded.url)
        until(lambda: denied.code == 64)
    log = (tmp_path / "aggregator.log").read_text()
    assert "Traceback" not in log
    assert "wrong" not in log


def test_an_aggregator_loads_no_torch(siege):
    assert "torch" not in Path(f"/proc/{siege.aggregator.pid}/maps").read_text()
