"""What a ledger in Redis refuses to work with, each with its error."""

import pytest
import redis

from fedkseed import errors
from fedkseed.codec import encode
from fedkseed.federation import Robust
from fedkseed.ledger.redis import RedisLedger
from fedkseed.messages import SnapshotRequest
from fedkseed_local.servers import RedisServer
from tests.ledgers import NAME, genesis, policy, update
from tests.servers import running
from tests.stores import fill, folding, founded, key


def test_a_federation_that_was_not_founded_is_missing(server):
    with pytest.raises(errors.LedgerMissing, match=NAME):
        RedisLedger.open(server.url, NAME)


def test_another_genesis_is_refused(server):
    founded(server.url)
    other = genesis(tick=0.25)
    with pytest.raises(errors.GenesisMismatch):
        RedisLedger.found(server.url, other, policy())
    with pytest.raises(errors.GenesisMismatch):
        RedisLedger.open(server.url, NAME, other)
    assert RedisLedger.open(server.url, NAME, genesis()).head().version == 0


def test_a_federation_beside_it_is_another_ledger(server):
    store = founded(server.url)
    other = RedisLedger.found(server.url, genesis(federation="other"), policy())
    fill(store)
    assert (store.head().version, other.head().version) == (1, 0)


def test_nobody_listening_is_unreachable(server):
    server.kill()
    try:
        for ask in (lambda: founded(server.url), lambda: RedisLedger.open(server.url, NAME)):
            with pytest.raises(errors.LedgerUnreachable, match=str(server.port)):
                ask()
    finally:
        server.start()


def test_a_server_that_takes_no_writes_is_waited_for(redis_server):
    store = founded(redis_server.url, cohort=9)
    batch = folding(update(store.head(), "ann"), update(store.head(), "bob"))
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.config_set("maxmemory", 1)
        with pytest.raises(errors.LedgerUnreachable):
            store.transact(batch)
        assert not store.head().pending.members
        raw.config_set("maxmemory", 0)
    store.transact(batch)
    assert len(store.head().pending.members) == 2


def test_wrong_credentials_are_denied(tmp_path):
    with running(RedisServer(tmp_path, {"requirepass": "right"})) as server:
        assert founded(server.url.replace("//", "//:right@")).head().version == 0
        for url in (server.url.replace("//", "//:wrong@"), server.url):
            with pytest.raises(errors.LedgerDenied) as refusal:
                RedisLedger.open(url, NAME)
            assert "wrong" not in str(refusal.value)


def test_a_user_who_may_too_little_is_denied(redis_server):
    founded(redis_server.url)
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.acl_setuser("reader", enabled=True, passwords=["+secret"], categories=["+@all", "-@write"], keys=["*"])
    store = RedisLedger.open(redis_server.url.replace("redis://", "redis://reader:secret@"), NAME)
    with pytest.raises(errors.LedgerDenied):
        fill(store)


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://127.0.0.1", "redis://h:port", "redis://h?x=1", "redis://h?protocol=3"]
)
def test_what_is_no_url_is_a_wrong_setting(url):
    with pytest.raises(errors.SettingError, match="Redis"):
        RedisLedger(url, NAME)


def tampered(name, change):
    """Change a key of the ledger behind everybody's back."""
    return pytest.param(name, change, id=f"{name}-{change.__name__}")


def gone(raw, key):
    raw.delete(key)


def bit_flipped(raw, key):
    data = bytearray(raw.get(key))
    data[11] ^= 1
    raw.set(key, bytes(data))


def cut(raw, key):
    raw.set(key, raw.get(key)[:-1])


def replaced(raw, key):
    raw.set(key, b"nonsense")


def of_another_type(raw, key):
    raw.delete(key)
    raw.lpush(key, b"nonsense")


def without_an_entry(raw, key):
    raw.xdel(key, "1-0")


def with_an_entry_more(raw, key):
    raw.xadd(key, {"kind": "round"}, id="3-0")


def with_an_entry_between(raw, name):
    raw.xadd(name, {"kind": "round"}, id="2-1")


def field(name, value):
    def changed(raw, key):
        assert raw.hexists(key, name)
        raw.hset(key, name, value) if value is not None else raw.hdel(key, name)

    changed.__name__ = f"{name}={value}"
    return changed


@pytest.mark.parametrize(
    ("name", "change"),
    [tampered("pairs", gone), tampered("pairs", field("ann/2", "xyz")), tampered("pairs", field("ann/2", None))],
)
def test_pairs_that_are_not_those_of_the_members_are_refused(server, raw, name, change):
    store = founded(server.url, robust=Robust())
    fill(store, 2)
    store.transact(folding(update(store.head(), "ann")))
    change(raw, key(name))
    with pytest.raises(errors.LedgerAltered, match=r"^pairs: "):
        RedisLedger.open(server.url, NAME)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        tampered("coefficients", bit_flipped),
        tampered("coefficients", cut),
        tampered("coefficients", gone),
        tampered("coefficients", of_another_type),
        tampered("residue", cut),
        tampered("importance", gone),
        tampered("policy", gone),
        tampered("policy", replaced),
        tampered("genesis", gone),
        tampered("head", gone),
        tampered("head", of_another_type),
        tampered("head", field("version", 1)),
        tampered("head", field("version", "x")),
        tampered("head", field("revision", None)),
        tampered("head", field("round", "x")),
        tampered("head", field("round", encode(SnapshotRequest(federation=NAME, client="ann", have=None)))),
        tampered("head", field("state", "odd")),
        tampered("head", field("members", 2)),
        tampered("head", field("base:2", None)),
        tampered("head", field("base:2", '["00", 1, 1.0, 1]')),
        tampered("pending", gone),
        tampered("pending", field("weight", 3)),
        tampered("pending", field("numerators", "x")),
        tampered("inbox:1", gone),
        tampered("inbox:1", field("ann", "x")),
        tampered("inbox:1", field("ann", encode(SnapshotRequest(federation=NAME, client="ann", have=None)))),
        tampered("log", gone),
        tampered("log", without_an_entry),
        tampered("log", with_an_entry_more),
        tampered("log", with_an_entry_between),
    ],
)  # fmt: skip
def test_what_does_not_verify_is_refused(server, raw, name, change):
    store = founded(server.url)
    fill(store, 2)
    store.transact(folding(update(store.head(), "ann")))
    change(raw, key(name))
    with pytest.raises(errors.LedgerAltered) as refusal:
        RedisLedger.open(server.url, NAME)
    assert "\n" not in str(refusal.value)


def test_a_ledger_without_its_genesis_is_not_founded_again(server, raw):
    founded(server.url)
    raw.delete(key("genesis"))
    with pytest.raises(errors.LedgerAltered, match="genesis"):
        founded(server.url)


def test_an_entry_between_two_versions_is_refused(server, raw):
    store = founded(server.url)
    fill(store)
    raw.xadd(key("log"), {"state": "x"}, id="1-1")
    fill(store)
    with pytest.raises(errors.LedgerAltered, match="1-1"):
        RedisLedger.open(server.url, NAME)


def test_a_genesis_that_was_changed_is_refused(server, raw):
    founded(server.url)
    raw.set(key("genesis"), genesis(tick=0.25))
    with pytest.raises(errors.LedgerAltered):
        RedisLedger.open(server.url, NAME)
    raw.set(key("genesis"), genesis(federation="other"))
    with pytest.raises(errors.GenesisMismatch):
        RedisLedger.open(server.url, NAME)


def test_another_schema_is_refused(server, raw):
    founded(server.url)
    raw.set(key("schema"), 2)
    for join in (lambda: RedisLedger.open(server.url, NAME), lambda: founded(server.url)):
        with pytest.raises(errors.LedgerSchemaUnknown):
            join()


def test_an_entry_of_the_log_that_was_changed_is_named(server, raw):
    store = founded(server.url)
    fill(store, 1)
    raw.xadd(key("log"), {"kind": "round"}, id="2-0")
    with pytest.raises(errors.LedgerAltered, match="2-0"):
        list(store.commits())


def test_somebody_elses_entry_in_the_log_stops_the_writer(server, raw):
    store = founded(server.url)
    raw.xadd(key("log"), {"kind": "round"}, id="1-0")
    with pytest.raises(errors.LedgerAltered):
        fill(store)


def test_every_refusal_has_an_exit_code_of_its_own():
    refusals = errors.LedgerError.__subclasses__()
    codes = [refusal.exit_code for refusal in (errors.LedgerError, *refusals)]
    assert len(set(codes)) == len(codes)
    assert all(60 <= code < 70 for code in codes)
