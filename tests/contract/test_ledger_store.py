"""What every store of a ledger does, whatever it is made of."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from math import isnan

import numpy as np
import pytest

from fedkseed.codec import encode
from fedkseed.errors import LedgerError, UnknownVersion
from fedkseed.federation import Robust, Target
from fedkseed.ledger import operate
from fedkseed.ledger.fold import Folded, announced, close, fold, found, score, unannounced
from fedkseed.ledger.head import Head, frozen
from fedkseed.ledger.log import replay, verify
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.redis import RedisLedger
from fedkseed.ledger.reports import MOST, REPORTED, Report, RoundReport
from fedkseed.ledger.statistics import PAIR
from fedkseed.ledger.store import MAX_CLIENTS, LastSeen, LedgerStore
from tests.ledgers import NAME, K, at_version, evaluation, genesis, ledger, ledger_bytes, policy, update

Opened = Callable[..., LedgerStore]  # a store with a new ledger; keywords are its policy


def in_memory(settings) -> LedgerStore:
    ticks = count(1000)
    return MemoryLedger(found(genesis(), settings, next(ticks)), lambda: float(next(ticks)))


@pytest.fixture(params=["memory", "redis"])
def opened(request) -> Iterator[Opened]:
    if request.param == "memory":
        yield lambda **settings: in_memory(policy(**settings))
        return
    server = request.getfixturevalue("server")
    stores = []

    def found_one(**settings) -> LedgerStore:
        stores.append(RedisLedger.found(server.url, genesis(), policy(**settings)))
        return stores[-1]

    yield found_one
    held, read = (store.head() for store in (stores[0], RedisLedger.open(server.url, NAME)))
    assert ledger_bytes(held, ()) == ledger_bytes(read, ())  # what a process holds is what another one reads
    assert (held.policy, held.revision, held.evaluations) == (read.policy, read.revision, read.evaluations)
    assert held.announced == read.announced


def robustly(store: LedgerStore) -> None:
    """Close three rounds of five; the last of each has its signs flipped."""
    for _ in range(3):
        head = store.head()
        for name, sign in (("ann", 1), ("bob", 1), ("cec", 1), ("dan", 1), ("eve", -1)):
            sent = update(head, name, k=range(4), g=[sign * value for value in (1.0, -2.0, 0.5, 3.0)])
            store.transact(lambda head, now, sent=sent: fold(head, [sent], now))
        store.transact(lambda head, now: close(head, head.version, head.round.attempt, now))


def many_rounds(head: Head, rounds: int):
    """Updates that close so many rounds of one, each on the version that the one before it makes."""
    updates = []
    for version in range(rounds):
        updates.append(update(head, f"c{version}", k=(version % K,)))
        head, _ = fold(head, updates[-1:], 0.0)
    return updates


def fill(store: LedgerStore, rounds: int) -> None:
    for _ in range(rounds):
        head = store.head()
        for name in ("ann", "bob"):
            store.transact(lambda head, now, name=name: fold(head, [update(head, name, g=(head.version + 0.3,))], now))
        assert store.head().version == head.version + 1


def test_a_store_begins_with_version_0_of_its_policy(opened):
    store = opened(cohort=5)
    head = store.head()
    assert ledger_bytes(head, ()) == ledger_bytes(found(genesis(), policy(cohort=5), head.round.opened), ())
    assert head.policy == policy(cohort=5)
    assert list(store.commits()) == []
    assert store.clients() == {}
    assert store.reports() == {}


def test_a_change_is_called_with_the_head_and_the_time_of_the_store(opened):
    store = opened()
    seen = []

    def look(head: Head, now: float) -> tuple[Head, Folded]:
        seen.append((head.version, now))
        return head, Folded()

    before = store.now()
    assert store.transact(look) == Folded()
    after = store.now()
    assert all(version == 0 and before <= now <= after for version, now in seen)
    assert seen


def test_a_change_is_kept_and_its_outcome_returned(opened):
    store = opened()
    told = store.transact(lambda head, now: fold(head, [update(head, "ann"), update(head, "bob")], now))
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert list(store.commits()) == list(told.commits)
    assert store.head().version == 1
    assert store.head().round.opened == told.commits[0].closed_at


def test_what_is_pending_and_decided_survives_between_changes(opened):
    store = opened(cohort=9)
    store.transact(lambda head, now: fold(head, [update(head, "ann")], now))
    store.transact(lambda head, now: fold(head, [update(head, "bob"), update(head, "ann")], now))
    assert [member.client for member in store.head().pending.members] == ["ann", "bob"]


def test_a_change_that_raises_leaves_everything_as_it_was(opened):
    store = opened()
    fill(store, 1)
    before = ledger_bytes(store.head(), tuple(store.commits()))

    def fail(head: Head, now: float) -> tuple[Head, Folded]:
        fold(head, [update(head, "ann"), update(head, "bob")], now)
        raise LedgerError("no")

    with pytest.raises(LedgerError, match="no"):
        store.transact(fail)
    assert ledger_bytes(store.head(), tuple(store.commits())) == before


def test_the_log_is_read_in_order_from_any_version(opened):
    store = opened()
    fill(store, 4)
    assert [commit.version for commit in store.commits()] == [1, 2, 3, 4]
    assert [commit.version for commit in store.commits(after=2)] == [3, 4]
    assert list(store.commits(after=4)) == []
    assert verify(store.commits(), genesis(), K) == 4
    assert replay(store.commits(), K).tolist() == store.head().coefficients.tolist()


def test_a_log_that_is_being_read_does_not_mind_an_append(opened):
    store = opened()
    fill(store, 2)
    reading = store.commits()
    next(reading)
    fill(store, 1)
    assert [commit.version for commit in reading][:1] == [2]


def test_a_log_may_be_long(opened):
    store = opened(cohort=1)
    store.transact(lambda head, now: fold(head, many_rounds(head, 150), now))
    assert [commit.version for commit in store.commits()] == [*range(1, 151)]
    assert [commit.version for commit in store.commits(after=90)] == [*range(91, 151)]


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_commit_that_is_not_the_next_version_is_refused(opened, shift):
    store = opened()
    fill(store, 2)
    before = ledger_bytes(store.head(), tuple(store.commits()))

    def skip(head: Head, now: float) -> tuple[Head, Folded]:
        head, told = fold(head, [update(head, "ann"), update(head, "bob")], now)
        return head, replace(told, commits=(replace(told.commits[0], version=told.commits[0].version + shift),))

    with pytest.raises(LedgerError):
        store.transact(skip)
    assert ledger_bytes(store.head(), tuple(store.commits())) == before


def test_a_head_that_moves_without_its_commit_is_refused(opened):
    store = opened()
    with pytest.raises(LedgerError):
        store.transact(lambda head, _: (at_version(head, 1)[0], Folded()))


def test_a_race_for_the_same_deadline_is_won_once(opened):
    store = opened(cohort=9)
    store.transact(lambda head, now: fold(head, [update(head, "ann")], now))
    closed = [store.transact(lambda head, now: close(head, 0, 0, now)) for _ in range(2)]
    assert [len(told.commits) for told in closed] == [1, 0]
    assert store.head().version == 1


def test_what_was_announced_is_remembered(opened):
    store = opened()
    store.transact(lambda head, _: announced(head, 0, 0))
    assert store.head().announced == (0, 0)


def test_scores_a_rollback_and_a_pause_are_kept(opened):
    store = opened(max_staleness=1, staleness_law="polynomial", importance=True)
    fill(store, 2)
    store.transact(lambda head, now: score(head, evaluation(head, 1, loss=0.1 + 0.2, accuracy=1.0), now))
    store.transact(lambda head, now: fold(head, [update(head, "cec")], now))
    target = replay(list(store.commits())[:1], K)
    told = store.transact(lambda head, now: operate.roll_back(head, target, 1, now))
    store.transact(operate.pause)
    head = store.head()
    assert [receipt.client for receipt in told.voided] == ["cec"]
    assert (head.version, head.floor, head.state) == (3, 3, "paused")
    assert head.inbox[2]["cec"].outcome == "voided"
    assert head.evaluations == {1: {"loss": 0.1 + 0.2, "accuracy": 1.0}}
    assert head.coefficients.tolist() == target.tolist()
    assert [commit.kind for commit in store.commits()] == ["round", "round", "rollback"]


def test_a_new_policy_is_kept_with_its_target(opened):
    store = opened()
    new = policy(cohort=3, max_staleness=2, staleness_law="hinge", target=Target(metric="loss", at_most=0.5), total=9)
    store.transact(lambda head, now: operate.set_policy(head, new, now))
    assert store.head().policy == new
    assert len(store.head().discounts) == 3


def test_a_federation_that_is_closed_stays_closed(opened):
    store = opened(total=1)
    fill(store, 1)
    assert (store.head().state, store.head().round.last) == ("closed", True)
    told = store.transact(lambda head, now: fold(head, [update(head, "cec")], now))
    assert [receipt.outcome for receipt in told.receipts] == ["stale"]
    assert store.head().version == 1


def test_integers_at_their_limits_are_kept_exactly(opened):
    store = opened(cohort=9)
    largest, smallest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    extremes = frozen(np.resize(np.array([largest, smallest, 0, -1, 1 << 62, -(1 << 62)]), K))

    def strain(head: Head, _: float) -> tuple[Head, Folded]:
        pending = replace(head.pending, numerators=extremes, importance_sums=extremes, importance_counts=extremes)
        return replace(head, revision=head.revision + 1, residue=extremes, pending=pending), Folded()

    store.transact(strain)
    head = store.head()
    kept = (head.residue, head.pending.numerators, head.pending.importance_sums, head.pending.importance_counts)
    assert all(values.dtype == np.int64 and values.tolist() == extremes.tolist() for values in kept)


def test_announcements_that_are_missing_can_be_made_again_byte_for_byte(opened):
    store = opened()
    store.transact(lambda head, _: announced(head, 0, 0))
    fill(store, 2)
    missing = unannounced(store.head(), store.commits(after=0))
    assert [encode(message) for message in missing] == [commit.round for commit in store.commits()]


def test_the_last_update_of_every_client_is_remembered_whatever_became_of_it(opened):
    store = opened(cohort=9)
    begun = store.now()
    store.transact(lambda head, now: fold(head, [update(head, "ann"), update(head, "bob", n=0)], now))
    store.transact(lambda head, now: fold(head, [update(head, "cec", base=4), update(head, "ann")], now))
    seen = store.clients()
    assert {client: (last.base, last.outcome) for client, last in seen.items()} == {
        "ann": (0, "folded"),
        "bob": (0, "invalid"),
        "cec": (4, "ahead"),
    }
    assert begun <= seen["bob"].at < seen["ann"].at == seen["cec"].at
    assert all(isinstance(last, LastSeen) for last in seen.values())


def test_of_too_many_clients_those_that_were_heard_of_last_are_remembered(opened):
    store = opened(cohort=9)
    receipt = store.transact(lambda head, now: fold(head, [update(head, "ann")], now)).receipts[0]
    crowd = tuple(replace(receipt, client=f"c{i}") for i in range(MAX_CLIENTS * 9 // 8 - 1))
    store.transact(lambda head, _: (head, Folded(receipts=crowd)))
    store.transact(lambda head, now: fold(head, [update(head, "bob")], now))
    seen = store.clients()
    assert len(seen) == MAX_CLIENTS
    assert "ann" not in seen
    assert "bob" in seen


def test_who_is_heard_of_again_is_not_forgotten_before_those_who_are_not(opened):
    store = opened(cohort=9)
    receipt = store.transact(lambda head, now: fold(head, [update(head, "ann")], now)).receipts[0]
    crowd = tuple(replace(receipt, client=f"c{i}") for i in range(MAX_CLIENTS * 9 // 8))
    store.transact(lambda head, _: (head, Folded(receipts=crowd[: MAX_CLIENTS - 1])))
    store.transact(lambda head, _: (head, Folded(receipts=(receipt,))))
    store.transact(lambda head, _: (head, Folded(receipts=crowd[MAX_CLIENTS - 1 :])))
    seen = store.clients()
    assert len(seen) == MAX_CLIENTS
    assert "ann" in seen


def test_what_the_last_update_of_a_client_said_is_remembered(opened):
    store = opened(cohort=9)
    store.transact(
        lambda head, now: fold(
            head, [update(head, "ann", loss=0.75, seconds=12.5), update(head, "bob", loss=float("nan"))], now, [812, 90]
        )
    )
    seen = store.clients()
    assert seen["ann"].report == Report(loss=0.75, seconds=12.5, size=812)
    assert seen["bob"].report.size == 90
    assert isnan(seen["bob"].report.loss)


def test_the_reports_of_a_round_are_those_of_the_updates_that_it_folded(opened):
    store = opened(cohort=3, max_staleness=1)
    ann, bob, cec, late = (
        update(store.head(), name, loss=loss) for name, loss in zip("abcd", (1.0, 0.5, 0.25, 4.0), strict=True)
    )
    store.transact(lambda head, now: fold(head, [ann, replace(ann, client="x", n=0), ann], now, [100, 7, 100]))
    store.transact(lambda head, now: fold(head, [ann, bob], now, [100, 200]))
    assert store.reports() == {0: RoundReport(updates=2, size=300, losses=2, loss=3 << 15)}
    store.transact(lambda head, now: fold(head, [bob, cec, late], now, [200, 300, 1000]))
    first, second = store.reports()[0], store.reports()[1]
    assert (first.updates, first.mean_size, first.mean_loss) == (3, 200.0, round(1.75 * 65536) / 65536 / 3)
    assert (second.updates, second.mean_size, second.mean_loss) == (1, 1000.0, 4.0)


def test_the_reports_of_a_round_do_not_depend_on_order_duplication_or_batching(opened):
    updates = [update(ledger(), f"c{i}", loss=0.1 * i if i else float("inf")) for i in range(6)]
    sizes = [10 + i for i in range(6)]
    together, apart = opened(cohort=6), in_memory(policy(cohort=6))
    together.transact(lambda head, now: fold(head, updates, now, sizes))
    for i in (3, 5, 0, 3, 1, 4, 2):
        apart.transact(lambda head, now, i=i: fold(head, updates[i : i + 1], now, sizes[i : i + 1]))
    assert together.reports() == apart.reports()
    assert together.reports()[0].losses == 5


def test_of_too_many_rounds_the_newest_have_reports(opened):
    store = opened(cohort=1)
    rounds = REPORTED + 3
    updates = many_rounds(store.head(), rounds)
    for one in updates[: REPORTED - 2]:
        store.transact(lambda head, now, one=one: fold(head, [one], now, [50]))
    store.transact(lambda head, now: fold(head, updates[REPORTED - 2 :], now, [50] * 5))
    assert list(store.reports()) == list(range(3, rounds))
    assert set(store.reports().values()) == {RoundReport(updates=1, size=50, losses=1, loss=1 << 15)}


def test_a_loss_that_is_made_up_does_not_spoil_the_sums(opened):
    store = opened(cohort=3)
    store.transact(lambda head, now: fold(head, [update(head, name, loss=3e38) for name in ("ann", "bob")], now))
    assert store.reports()[0].mean_loss == MOST
    assert store.head().pending.members


def test_a_change_that_changes_nothing_keeps_the_head(opened):
    store = opened()
    fill(store, 1)
    before = store.head()
    store.transact(lambda head, now: close(head, 0, 0, now))
    assert store.head() is before


def test_a_change_without_a_new_revision_is_refused(opened):
    store = opened()
    with pytest.raises(LedgerError, match="revision"):
        store.transact(lambda head, _: (replace(head, floor=1), Folded()))
    assert store.head().floor == 0


def test_an_error_of_a_change_is_the_callers(opened):
    store = opened()
    with pytest.raises(UnknownVersion):
        store.transact(lambda head, now: operate.roll_back(head, head.coefficients, 5, now))
    fill(store, 1)


def test_what_robust_folding_learns_is_kept(opened):
    store = opened(cohort=5, robust=Robust(quarantine=4.0))
    robustly(store)
    kinds = [(commit.kind, commit.quarantined) for commit in store.commits()]
    assert kinds == [("measured", ("eve",)), ("round", ()), ("round", ())]
    first, second, third = store.commits()
    assert [member.evidence.agreement / PAIR for member in first.members] == [4, 4, 4, 4, -4]
    assert (first.bounds, second.members[0].evidence.compared) == (None, 4)
    assert third.bounds == second.bounds
    assert dict(store.head().robust.quarantined) == {"eve": 1}
    assert store.clients()["eve"].outcome == "quarantined"


def test_a_quarantine_that_is_lifted_is_kept(opened):
    store = opened(cohort=5, robust=Robust(quarantine=4.0))
    robustly(store)
    store.transact(lambda head, now: operate.readmit(head, "eve", now))
    assert store.head().robust.quarantined == {}


def test_robust_folding_that_ends_is_forgotten(opened):
    store = opened(cohort=5, robust=Robust())
    robustly(store)
    store.transact(lambda head, now: operate.set_policy(head, policy(cohort=5), now))
    assert store.head().robust is not None
    robustly(store)
    assert store.head().robust is None


def test_the_open_round_of_robust_folding_survives_between_changes(opened):
    store = opened(cohort=5, robust=Robust())
    robustly(store)
    store.transact(lambda head, now: fold(head, [update(head, "ann", k=(1, 1, 9), g=(2.0, 1.0, -1.0))], now))
    store.transact(lambda head, now: fold(head, [update(head, "bob", k=(1,), g=(2.0,))], now))
    pending = store.head().pending
    assert int(pending.scalars.sum()) == 4
    assert [(name, len(k), len(g)) for (name, _), (k, g) in sorted(pending.pairs.items())] == [("ann", 6, 6), ("bob", 2, 2)]
    store.transact(lambda head, now: close(head, head.version, head.round.attempt, now))
    assert store.head().pending.pairs == {}
    assert [member.evidence.compared for member in list(store.commits())[-1].members] == [2, 1]
