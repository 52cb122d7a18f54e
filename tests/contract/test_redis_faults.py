"""A ledger in Redis while connections break and servers restart: every change counts once or not at all."""

import shutil
import signal

import pytest

from fedkseed import errors
from fedkseed.ledger.fold import fold
from fedkseed.ledger.log import verify
from tests.ledgers import K, genesis, update
from tests.servers import freeze, thaw
from tests.stores import everything, fill, folding, founded, log_of_writes, stored, through
from tests.wires import Loss

EXEC, ITS_REPLY = b"$4\r\nEXEC\r\n", b"*"


@pytest.mark.parametrize("reply", [None, ITS_REPLY], ids=["request", "reply"])
def test_a_transaction_whose_request_or_reply_is_lost_counts_once(server, wire, reply):
    store = through(wire, cohort=2)
    fill(store)
    batch = [update(store.head(), name) for name in ("ann", "bob", "cec")]
    wire.lose(Loss(request=EXEC, reply=reply, meanwhile=lambda: None))
    told = store.transact(folding(*batch))
    assert wire.broke
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded", "stale"]
    assert [commit.version for commit in told.commits] == [2]
    assert told.rounds == (store.head().round,)
    assert list(store.commits(after=1)) == list(told.commits)
    assert store.head().version == 2
    assert stored(server) == everything(store)
    assert [report.updates for report in store.reports().values()] == [2, 2]


def test_others_that_write_meanwhile_do_not_hide_what_happened(server, wire):
    store, other = through(wire, cohort=2), founded(server.url)
    batch = [update(store.head(), name) for name in ("ann", "bob")]
    wire.lose(Loss(request=EXEC, reply=ITS_REPLY, meanwhile=lambda: fill(other, 7)))
    told = store.transact(folding(*batch))
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert [commit.version for commit in told.commits] == [1]
    assert store.head().version == 8
    assert sum(member.base == 0 for commit in store.commits() for member in commit.members) == 2


def test_others_that_write_meanwhile_do_not_pass_for_what_did_not_happen(server, wire):
    store, other = through(wire, cohort=2, max_staleness=9), founded(server.url)
    batch = [update(store.head(), name, k=(9,)) for name in ("dan", "eve")]
    wire.lose(Loss(request=EXEC, reply=None, meanwhile=lambda: fill(other, 3)))
    told = store.transact(folding(*batch))
    assert [receipt.version for receipt in told.receipts] == [3, 3]
    assert [commit.version for commit in told.commits] == [4]
    assert [member.client for commit in store.commits(after=3) for member in commit.members] == ["dan", "eve"]


def test_a_change_that_is_given_up_is_found_again_when_it_is_asked_for_again(wire):
    store = through(wire, cohort=2)
    change = folding(*[update(store.head(), name) for name in ("ann", "bob")])
    wire.lose(Loss(request=EXEC, reply=ITS_REPLY, meanwhile=lambda: setattr(wire, "torn", True)))
    for _ in range(2):
        with pytest.raises(errors.LedgerUnreachable):
            store.transact(change)
    wire.torn = False
    told = store.transact(change)
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert [commit.version for commit in told.commits] == [1]
    assert store.transact(change).commits == ()  # asked for once more, it is another time
    assert store.head().version == 1


def test_another_process_finds_the_receipts_of_a_killed_one(server, wire):
    store = through(wire, cohort=2)
    batch = [update(store.head(), name) for name in ("ann", "bob", "cec")]
    wire.lose(Loss(request=EXEC, reply=ITS_REPLY, meanwhile=lambda: setattr(wire, "torn", True)))
    with pytest.raises(errors.LedgerUnreachable):
        store.transact(folding(*batch))
    told = founded(server.url).transact(folding(*batch))
    assert [(receipt.outcome, receipt.version) for receipt in told.receipts] == [("folded", 0), ("folded", 0), ("stale", 1)]
    assert told.commits == ()
    assert founded(server.url).reports()[0].updates == 2


def test_a_connection_that_is_killed_while_a_change_is_computed_is_replaced(server, raw):
    store = founded(server.url, cohort=9)
    batch = [update(store.head(), "ann")]
    calls = []

    def change(head, now):
        if not calls:
            raw.client_kill_filter(_type="normal", skipme=True)
        calls.append(head.revision)
        return fold(head, batch, now)

    assert [receipt.outcome for receipt in store.transact(change).receipts] == ["folded"]
    assert calls == [0, 0]
    assert stored(server) == everything(store)


def test_a_transaction_that_a_frozen_server_makes_late_counts_once(redis_server):
    store = founded(f"{redis_server.url}?socket_timeout=0.2", cohort=2)
    batch = [update(store.head(), "ann"), update(store.head(), "bob")]
    calls = []

    def change(head, now):
        if not calls:
            freeze(redis_server)  # the transaction is sent, and waits in a socket that is closed then
        calls.append(head.version)
        return fold(head, batch, now)

    with pytest.raises(errors.LedgerUnreachable):
        store.transact(change)
    thaw(redis_server)
    told = store.transact(change)
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert [commit.version for commit in told.commits] == [1]
    assert list(store.commits()) == list(told.commits)
    assert stored(redis_server) == everything(store)


def test_an_interrupted_question_leaves_no_answer_to_the_next_one(redis_server):
    store = founded(redis_server.url)
    fill(store)
    freeze(redis_server)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(KeyboardInterrupt):
        store.now()
    signal.signal(signal.SIGALRM, before)
    thaw(redis_server)
    assert stored(redis_server) == everything(store)


def test_a_founder_that_loses_a_reply_has_founded(server, wire):
    wire.lose(Loss(request=EXEC, reply=ITS_REPLY, meanwhile=lambda: None))
    store = through(wire)
    assert wire.broke
    assert stored(server) == everything(store)


def test_a_restart_in_the_middle_loses_nothing(redis_server):
    store = founded(redis_server.url, cohort=3)
    fill(store, 2)
    before = everything(store)
    redis_server.kill()
    for ask in (store.head, store.now, store.clients, lambda: next(store.commits()), lambda: fill(store)):
        with pytest.raises(errors.LedgerUnreachable):
            ask()
    redis_server.start()
    assert everything(store) == before == stored(redis_server)
    fill(store, 2)
    redis_server.restart()
    fill(store, 2)
    assert verify(store.commits(), genesis(), K) == store.head().version
    assert stored(redis_server) == everything(store)


def test_a_transaction_that_is_half_on_disk_never_happened(redis_server):
    store = founded(redis_server.url, cohort=2)
    fill(store)
    before = everything(store)
    kept = log_of_writes(redis_server).stat().st_size
    fill(store)
    redis_server.kill()
    whole = log_of_writes(redis_server).read_bytes()
    log_of_writes(redis_server).write_bytes(whole[: kept + (len(whole) - kept) // 4])
    redis_server.start()
    assert stored(redis_server) == before


def test_a_backup_is_refused_by_whoever_has_seen_more(redis_server):
    store = founded(redis_server.url)
    fill(store)
    redis_server.kill()
    files = redis_server.folder / "appendonlydir"
    shutil.copytree(files, redis_server.folder / "backup")
    redis_server.start()
    fill(store)
    redis_server.kill()
    shutil.rmtree(files)
    (redis_server.folder / "backup").rename(files)
    redis_server.start()
    for ask in (store.head, lambda: fill(store)):
        with pytest.raises(errors.LedgerBehind):
            ask()


def test_a_connection_that_was_closed_is_made_again(server):
    store = founded(server.url)
    store.close()
    fill(store)
    assert stored(server) == everything(store)
