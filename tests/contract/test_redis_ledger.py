"""What only a ledger in Redis has: its keys, what a change writes and reads, and several writers without a lock."""

import threading
from hashlib import sha256

import pytest
import redis

from fedkseed.federation import Robust
from fedkseed.ledger.digest import policy_digest
from fedkseed.ledger.fold import announced, fold, found, score
from fedkseed.ledger.log import verify
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.redis import LOST_RACES, MAX_PAUSE, RedisLedger
from fedkseed.ledger.store import LastSeen
from tests.ledgers import NAME, K, evaluation, genesis, update
from tests.stores import everything, fill, folding, founded, in_threads, key, log_of_writes, stored


def test_a_founder_and_who_joins_hold_the_same_bytes(server):
    store = founded(server.url, cohort=5, importance=True)
    store.transact(folding(update(store.head(), "ann")))
    assert stored(server) == everything(store)
    assert everything(founded(server.url, cohort=9)) == everything(store)  # founded before: what is stored rules


def test_many_founders_found_once(server):
    stores = []
    in_threads(*[lambda: stores.append(founded(server.url))] * 4)
    assert len({everything(store) for store in stores}) == 1
    assert len({store.head().round.opened for store in stores}) == 1


def test_all_keys_of_a_federation_are_in_one_slot(server, raw):
    store = founded(server.url)
    fill(store, 2)
    store.transact(folding(update(store.head(), "ann")))
    store.transact(lambda head, now: score(head, evaluation(head, 0, loss=1.0), now))
    keys = {name.decode() for name in raw.scan_iter()}
    assert all(name.startswith(f"{{{NAME}}}:") for name in keys)
    names = {name.removeprefix(f"{{{NAME}}}:").partition(":")[0] for name in keys}
    assert names == {
        "schema", "genesis", "policy", "head", "coefficients", "residue", "importance",
        "pending", "inbox", "log", "evaluations", "clients", "reports", "writer",
    }  # fmt: skip
    assert raw.get(key("genesis")) == genesis()
    assert sha256(raw.get(key("policy"))).hexdigest() == policy_digest(store.head().policy)
    assert len(raw.get(key("coefficients"))) == 8 * K
    assert all(raw.ttl(name) > 0 for name in raw.scan_iter("*writer*"))


def test_a_client_that_was_noted_without_a_report_is_still_known(server, raw):
    store = founded(server.url)
    raw.hset(key("clients"), "ann", '[1000.0, 3, "folded"]')
    assert store.clients() == {"ann": LastSeen(at=1000.0, base=3, outcome="folded")}


def test_the_log_has_the_versions_as_ids(server, raw):
    store = founded(server.url)
    fill(store, 3)
    assert [name for name, _ in raw.xrange(key("log"))] == [b"1-0", b"2-0", b"3-0"]
    with pytest.raises(redis.ResponseError, match="equal or smaller"):
        raw.xadd(key("log"), {"kind": "round"}, id="3-0")


def written(server, action) -> list[list[bytes]]:
    """The commands that an action has put into the append-only file."""
    begun = log_of_writes(server).stat().st_size
    action()
    with log_of_writes(server).open("rb") as file:
        file.seek(begun)
        commands = []
        while line := file.readline():
            sizes = (int(file.readline()[1:]) for _ in range(int(line[1:])))
            commands.append([file.read(size + 2)[:-2] for size in sizes])
    return [command for command in commands if command[0] not in (b"SELECT", b"MULTI", b"EXEC")]


def parts(commands) -> dict[str, set[str]]:
    """Per key the fields of a hash that were written; nothing for other types."""
    return {
        words[1].decode().removeprefix(f"{{{NAME}}}:"): {
            field.decode() for field in (words[2::2] if words[0] == b"HSET" else ())
        }
        for words in commands
    }


def test_a_fold_writes_the_open_round_and_receipts_and_nothing_else(server):
    store = founded(server.url, cohort=4)
    store.transact(folding(update(store.head(), "ann", k=(3, 9))))
    made = parts(written(server, lambda: store.transact(folding(update(store.head(), "bob", k=(5,))))))
    writer = next(name for name in made if name.startswith("writer"))
    assert made == {
        "pending": {"numerators", "importance", "counts", "weight", "bob/0"},
        "inbox:0": {"bob"},
        "head": {"revision", "members", "at:pending", "at:inbox:0"},
        "clients": {"bob"},
        "reports": set(),
        writer: set(),
    }


def test_robust_folding_writes_the_pairs_of_a_member_once_and_drops_them_with_the_round(server, raw):
    store = founded(server.url, cohort=3, robust=Robust())
    store.transact(folding(update(store.head(), "ann", k=(3, 9), g=(1.0, 2.0))))
    made = written(server, lambda: store.transact(folding(update(store.head(), "bob", k=(5, 6, 7), g=(1.0, 2.0, 3.0)))))
    assert parts(made)["pairs"] == {"bob/0"}
    assert {name: len(value) for name, value in raw.hgetall(key("pairs")).items()} == {b"ann/0": 8, b"bob/0": 12}
    store.transact(folding(update(store.head(), "cec")))
    assert not raw.exists(key("pairs"))


def test_a_round_that_others_began_is_judged_as_if_one_process_had_seen_all_of_it(server):
    """The process that had folded the first members is gone."""
    founded(server.url, cohort=5, robust=Robust(quarantine=3.0))
    sent = [(name, [sign * g for g in (1.0, -2.0, 0.5, 3.0)]) for name, sign in zip("abcde", (1, 1, -1, 1, 1), strict=True)]
    for name, g in sent:
        store = RedisLedger.open(server.url, NAME)
        store.transact(folding(update(store.head(), name, k=range(4), g=g)))
    (made,) = store.commits()
    memory = MemoryLedger(found(genesis(), store.head().policy, store.head().round.opened), lambda: made.closed_at)
    memory.transact(folding(*(update(memory.head(), name, k=range(4), g=g) for name, g in sent)))
    assert made.quarantined == next(memory.commits()).quarantined == ("c",)
    assert made.members == next(memory.commits()).members


def test_a_refusal_writes_its_receipt_and_a_duplicate_nothing_of_the_ledger(server):
    store = founded(server.url, cohort=4)
    refused = update(store.head(), "ann", n=0)
    assert {"inbox:0", "head", "clients"} < parts(written(server, lambda: store.transact(folding(refused)))).keys()
    assert parts(written(server, lambda: store.transact(folding(refused)))) == {"clients": {"ann"}}


def test_an_announcement_writes_only_where_the_ledger_stands(server):
    store = founded(server.url)
    made = parts(written(server, lambda: store.transact(lambda head, _: announced(head, 0, 0))))
    assert made["head"] == {"revision", "announced"}
    assert len(made) == 2  # and the token


def test_reading_an_unchanged_head_is_one_small_reply(server, raw):
    store = founded(server.url)
    fill(store, 2)
    raw.config_resetstat()
    assert store.head() is store.head()
    statistics = raw.info("commandstats")
    assert statistics["cmdstat_hget"]["calls"] == 2
    assert statistics.keys() == {"cmdstat_hget", "cmdstat_config|resetstat"}


def test_what_others_changed_is_read_and_nothing_else(server, raw):
    store, other = founded(server.url, cohort=9), founded(server.url)
    fill(store)
    assert everything(other) == everything(store)
    store.transact(folding(update(store.head(), "cec")))
    raw.config_resetstat()
    assert everything(other) == everything(store)
    statistics = raw.info("commandstats")
    assert statistics["cmdstat_hgetall"]["calls"] == 3  # head, pending, one inbox
    assert "cmdstat_get" not in statistics
    assert "cmdstat_mget" not in statistics


def test_writers_that_race_make_the_same_bytes_as_one(server):
    stores = [founded(server.url, cohort=12, importance=True) for _ in range(3)]
    opened_at, rounds = stores[0].head().round.opened, []
    for _ in range(3):
        head = stores[0].head()
        updates = [update(head, f"c{i}", k=(i, i + 1, 2 * i), g=(0.1 * i, -3.3, 2.0**i)) for i in range(12)]
        shares = [updates[i::3] for i in range(3)]
        in_threads(*[
            lambda store=store, share=share: [store.transact(folding(one)) for one in (*share, *share[:2])]
            for store, share in zip(stores, shares, strict=True)
        ])  # fmt: skip
        rounds.append(updates)
    log = tuple(stores[0].commits())
    times = iter([commit.closed_at for commit in log])
    memory = MemoryLedger(found(genesis(), stores[0].head().policy, opened_at), lambda: next(times))
    for updates in rounds:
        memory.transact(folding(*reversed(updates)))
    assert {everything(store) for store in stores} == {everything(memory)} == {stored(server)}


def test_a_free_for_all_counts_every_update_once(server):
    stores = [founded(server.url, cohort=4, max_staleness=3, staleness_law="polynomial") for _ in range(3)]
    receipts = []

    def work(store, name):
        for i in range(12):
            head = store.head()
            batch = [update(head, f"{name}{i}-{j}", k=(j, 5)) for j in range(3)]
            receipts.extend(store.transact(folding(*batch)).receipts)
            store.transact(folding(*batch))

    in_threads(*[lambda store=store, name=name: work(store, name) for store, name in zip(stores, "abc", strict=True)])
    head, log = stores[0].head(), tuple(stores[0].commits())
    counted = [(m.client, m.base, m.omega) for commit in log for m in commit.members]
    counted += [(m.client, m.base, m.omega) for m in head.pending.members]
    assert len(receipts) == 108
    assert sorted(counted) == sorted((r.client, r.base, r.weight) for r in receipts if r.weight)
    assert verify(log, genesis(), K) == head.version
    assert len({everything(store) for store in stores}) == 1


def test_a_change_that_keeps_losing_gets_its_turn(server, raw):
    slow, quick = founded(server.url, cohort=9), founded(server.url)
    head, threads, tries = slow.head(), [], []

    def competing(name):
        quick.transact(folding(update(head, name)))

    def change(now_head, now):
        tries.append(now_head.revision)
        if len(tries) <= LOST_RACES:
            competing(f"quick-{len(tries)}")
        elif len(tries) == LOST_RACES + 1:
            threads.append(threading.Thread(target=competing, args=("late",)))
            threads[0].start()
            threads[0].join(10 * MAX_PAUSE)
            assert threads[0].is_alive()  # it waits for the turn to end
        return fold(now_head, [update(head, "slow")], now)

    assert [receipt.outcome for receipt in slow.transact(change).receipts] == ["folded"]
    assert len(tries) == LOST_RACES + 1
    threads[0].join()
    assert len(slow.head().pending.members) == LOST_RACES + 2
    assert not raw.exists(key("turn"))
