"""What every store of a ledger does, whatever it is made of."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fedkseed.errors import LedgerError
from fedkseed.ledger.fold import Folded, announced, close, fold
from fedkseed.ledger.head import Head
from fedkseed.ledger.log import replay, verify
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.store import LedgerStore
from tests.ledgers import K, at_version, genesis, ledger, ledger_bytes, update


@pytest.fixture(params=["memory"])
def opened(request) -> Callable[[Head], LedgerStore]:
    """A function that opens a store with a head; its clock stands at 7 seconds."""
    return {"memory": lambda head: MemoryLedger(head, lambda: 7.0)}[request.param]


def fill(store: LedgerStore, rounds: int) -> None:
    for _ in range(rounds):
        head = store.head()
        for name in ("ann", "bob"):
            store.transact(lambda head, now, name=name: fold(head, [update(head, name, g=(head.version + 0.3,))], now))
        assert store.head().version == head.version + 1


def test_a_store_begins_with_the_head_it_was_given(opened):
    head = ledger()
    assert ledger_bytes(opened(head).head(), ()) == ledger_bytes(head, ())
    assert list(opened(head).commits()) == []


def test_a_change_is_called_with_the_head_and_the_time_of_the_store(opened):
    store = opened(ledger())
    seen = []

    def look(head: Head, now: float) -> tuple[Head, Folded]:
        seen.append((head.version, now))
        return head, Folded()

    assert store.transact(look) == Folded()
    assert set(seen) == {(0, 7.0)}


def test_a_change_is_kept_and_its_outcome_returned(opened):
    store = opened(ledger())
    told = store.transact(lambda head, now: fold(head, [update(head, "ann"), update(head, "bob")], now))
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert list(store.commits()) == list(told.commits)
    assert store.head().version == 1
    assert store.head().round.opened == 7.0


def test_what_is_pending_and_decided_survives_between_changes(opened):
    store = opened(ledger(cohort=9))
    store.transact(lambda head, now: fold(head, [update(head, "ann")], now))
    store.transact(lambda head, now: fold(head, [update(head, "bob"), update(head, "ann")], now))
    assert [member.client for member in store.head().pending.members] == ["ann", "bob"]


def test_a_change_that_raises_leaves_everything_as_it_was(opened):
    store = opened(ledger())
    fill(store, 1)
    before = ledger_bytes(store.head(), tuple(store.commits()))

    def fail(head: Head, now: float) -> tuple[Head, Folded]:
        fold(head, [update(head, "ann"), update(head, "bob")], now)
        raise LedgerError("no")

    with pytest.raises(LedgerError, match="no"):
        store.transact(fail)
    assert ledger_bytes(store.head(), tuple(store.commits())) == before


def test_the_log_is_read_in_order_from_any_version(opened):
    store = opened(ledger())
    fill(store, 4)
    assert [commit.version for commit in store.commits()] == [1, 2, 3, 4]
    assert [commit.version for commit in store.commits(after=2)] == [3, 4]
    assert list(store.commits(after=4)) == []
    assert verify(store.commits(), genesis(), K) == 4
    assert replay(store.commits(), K).tolist() == store.head().coefficients.tolist()


def test_a_log_that_is_being_read_does_not_mind_an_append(opened):
    store = opened(ledger())
    fill(store, 2)
    reading = store.commits()
    next(reading)
    fill(store, 1)
    assert [commit.version for commit in reading][:1] == [2]


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_commit_that_is_not_the_next_version_is_refused(opened, shift):
    store = opened(ledger())
    fill(store, 2)
    before = ledger_bytes(store.head(), tuple(store.commits()))

    def skip(head: Head, now: float) -> tuple[Head, Folded]:
        head, told = fold(head, [update(head, "ann"), update(head, "bob")], now)
        return head, replace(told, commits=(replace(told.commits[0], version=told.commits[0].version + shift),))

    with pytest.raises(LedgerError):
        store.transact(skip)
    assert ledger_bytes(store.head(), tuple(store.commits())) == before


def test_a_head_that_moves_without_its_commit_is_refused(opened):
    store = opened(ledger())
    with pytest.raises(LedgerError):
        store.transact(lambda head, _: (at_version(head, 1)[0], Folded()))


def test_a_race_for_the_same_deadline_is_won_once(opened):
    store = opened(ledger(cohort=9))
    store.transact(lambda head, now: fold(head, [update(head, "ann")], now))
    closed = [store.transact(lambda head, now: close(head, 0, 0, now)) for _ in range(2)]
    assert [len(told.commits) for told in closed] == [1, 0]
    assert store.head().version == 1


def test_what_was_announced_is_remembered(opened):
    store = opened(ledger())
    store.transact(lambda head, _: announced(head, 0, 0))
    assert store.head().announced == (0, 0)
