"""Forgetting a client: what stays is, byte for byte, what a slow replay of the archive gives without that client."""

from dataclasses import replace

import numpy as np
import pytest

from fedkseed.codec import decode, encode
from fedkseed.errors import ArchiveIncomplete, LedgerError
from fedkseed.federation import Robust
from fedkseed.ledger.fold import fold, found
from fedkseed.ledger.forget import forget, gathered
from fedkseed.ledger.log import replay as added_up
from fedkseed.ledger.log import verify
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.operate import roll_back, set_policy
from fedkseed.transport.broker import Envelope
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import archive, archive_stream, shared, to_aggregator
from tests.ledgers import NAME, K, genesis, policy, update
from tests.replays import is_replay

CLIENTS = ("ann", "bob", "eve")


class Place:
    """A ledger in memory, beside a broker that keeps every update."""

    def __init__(self, **settings) -> None:
        self.store = MemoryLedger(found(genesis(), policy(cohort=3, **settings), 0.0), lambda: 0.0)
        self._broker = MemoryBroker()
        self._line = self._broker.connect()
        self._line.start(shared(NAME) | archive(NAME), (), lambda _: None)
        self._dice = np.random.default_rng(5)

    def send(self, *updates) -> None:
        for each in updates:
            self._line.publish(0, (Envelope(to=to_aggregator(NAME, "update", each.client), body=encode(each), headers={}),))
        self.store.transact(lambda head, now: fold(head, updates, now))

    def measured(self, client, **changes):
        pairs = int(self._dice.integers(1, 9))
        k, g = self._dice.integers(0, 20, pairs), self._dice.normal(size=pairs) * 3
        return update(self.store.head(), client, k=k, g=g, n=int(self._dice.integers(1, 50)), **changes)

    def round(self, *clients) -> None:
        before = self.store.head().version
        self.send(*(self.measured(client) for client in clients or CLIENTS))
        assert self.store.head().version == before + 1

    def back(self, to) -> None:
        coefficients = added_up(list(self.commits)[:to], K)
        self.store.transact(lambda head, now: roll_back(head, coefficients, to, now))

    @property
    def commits(self):
        return tuple(self.store.commits())

    @property
    def bodies(self):
        return self._broker.waiting(archive_stream(NAME))

    def forget(self, client, bodies=None) -> None:
        commits = self.commits
        kept = gathered(self.bodies if bodies is None else bodies, commits, self.store.head())
        self.store.transact(lambda head, now: forget(head, client, commits, kept, now))

    def verified(self) -> None:
        head = self.store.head()
        assert verify(self.commits, head.genesis_bytes, K) == head.version
        assert added_up(self.commits, K).tolist() == head.coefficients.tolist()


def same(place: Place, skipped) -> bool:
    return is_replay(place.store.head(), place.commits, place.bodies, skipped)


def test_the_slow_replay_gives_the_ledger_where_nothing_is_skipped():
    place = Place()
    for _ in range(4):
        place.round()
    assert same(place, lambda *_: False)


@pytest.mark.parametrize("robust", [None, Robust(clip=2.0, norm=1.2, weight=2.0, quarantine=1e6)])
def test_what_stays_is_the_replay_without_the_client(robust):
    place = Place(robust=robust)
    for _ in range(5):
        place.round()
    before = place.store.head().coefficients
    place.forget("eve")
    assert place.commits[-1].kind == "forget"
    assert place.commits[-1].forgotten == "eve"
    assert not np.array_equal(place.store.head().coefficients, before)
    assert same(place, lambda client, _: client == "eve")
    place.verified()


def test_what_a_round_has_left_out_because_it_was_hostile_is_in_no_replay():
    place = Place(robust=Robust(quarantine=18.0))
    place.round()
    place.round()
    head, sent = place.store.head(), {"ann": (2.0, 10), "bob": (3.0, 10), "eve": (-2.0, 5)}
    place.send(*(update(head, name, k=range(20), g=[g] * 20, n=n) for name, (g, n) in sent.items()))
    assert place.commits[-1].quarantined == ("eve",)
    assert [member.client for member in place.commits[-1].members] == ["ann", "bob"]
    assert same(place, lambda *_: False)
    place.forget("bob")
    assert same(place, lambda client, _: client == "bob")
    place.verified()


def test_training_goes_on_from_there_and_what_the_client_sends_then_counts():
    place = Place()
    place.round()
    place.round()
    place.forget("eve")
    place.round()
    assert same(place, lambda client, version: client == "eve" and version < 3)
    place.verified()


def test_another_client_is_forgotten_after_the_first_and_the_first_once_more():
    place = Place()
    place.round()
    place.forget("eve")
    place.round()
    place.forget("bob")
    assert same(place, lambda client, version: client == "bob" or (client == "eve" and version < 2))
    place.round()
    place.forget("eve")
    assert same(place, lambda client, version: client == "eve" or (client == "bob" and version < 4))
    place.verified()


def test_a_rollback_goes_back_to_the_version_as_it_is_without_the_client():
    place = Place()
    place.round()
    place.round()
    place.round()
    place.back(1)
    place.round()
    place.forget("eve")
    assert same(place, lambda client, _: client == "eve")
    with pytest.raises(LedgerError, match="version 2 holds what was forgotten at version 6"):
        place.back(2)
    place.back(6)
    place.round()
    place.forget("bob")
    assert same(place, lambda client, version: client == "bob" or (client == "eve" and version < 6))
    place.verified()


def test_a_round_that_only_the_client_made_changes_nothing():
    place = Place()
    place.round()
    place.store.transact(lambda head, now: set_policy(head, policy(cohort=1), now))
    place.round("eve")
    place.store.transact(lambda head, now: set_policy(head, policy(cohort=3), now))
    place.round()
    place.forget("eve")
    assert same(place, lambda client, _: client == "eve")


def test_measuring_and_voided_rounds_stay_without_effect():
    place = Place(robust=Robust(clip=1e9, norm=1e9))
    place.round()
    place.round()
    place.store.transact(lambda head, now: set_policy(head, policy(cohort=3, lr=1e19), now))
    place.round()
    place.send(*(place.measured(client) for client in CLIENTS))
    assert [commit.kind for commit in place.commits] == ["measured", "round", "round", "voided"]
    place.forget("eve")
    assert same(place, lambda client, _: client == "eve")


def test_the_open_round_is_discarded_and_older_bases_are_refused():
    place = Place(max_staleness=3)
    place.round()
    late = place.measured("ann")
    place.send(place.measured("bob"))
    place.forget("eve")
    head = place.store.head()
    assert (head.pending.members, head.floor, head.forgot) == ((), 2, 2)
    assert head.inbox[1]["bob"].outcome == "voided"
    told = place.store.transact(lambda head, now: fold(head, [late], now))
    assert (told.receipts[0].outcome, "forgetting a client" in told.receipts[0].reason) == ("stale", True)


def test_the_importance_of_seeds_is_that_without_the_client():
    place, without = Place(importance=True), Place(importance=True)
    for _ in range(3):
        updates = [place.measured(client) for client in CLIENTS]
        place.send(*updates)
        without.store.transact(lambda head, now: set_policy(head, policy(cohort=2, importance=True), now))
        without.send(*(replace(each, state=without.store.head().digest[:16]) for each in updates[:2]))
    place.forget("eve")
    head, expected = place.store.head(), without.store.head()
    assert head.importance_sums.tolist() == expected.importance_sums.tolist()
    assert head.importance_counts.tolist() == expected.importance_counts.tolist()
    assert head.coefficients.tolist() == expected.coefficients.tolist()


def test_an_update_that_came_twice_with_other_contents_counts_as_it_was_decided():
    place = Place()
    first = place.measured("ann")
    second = replace(place.measured("ann"), g=first.g, k=bytes(len(first.k)))
    place.send(replace(first, state=bytes(16)), first, second, place.measured("bob"), place.measured("eve"))
    place.forget("eve")
    assert place.store.head().version == 2


@pytest.mark.parametrize("gone", [0, 4])
def test_an_archive_with_a_gap_is_refused_and_the_first_gap_named(gone):
    place = Place()
    place.round()
    place.round()
    bodies = [body for index, body in enumerate(place.bodies) if index not in (gone, 5)]
    lacks = decode(place.bodies[gone])
    with pytest.raises(ArchiveIncomplete, match=f"the update of {lacks.client} on version {lacks.base} is missing"):
        place.forget("eve", bodies)
    assert place.store.head().version == 2


def test_an_archive_that_says_something_else_is_refused():
    place = Place()
    place.round()
    false = [encode(replace(decode(body), k=bytes(len(decode(body).k)))) for body in place.bodies]
    with pytest.raises(ArchiveIncomplete, match="do not give version 1 as the ledger has it"):
        place.forget("ann", false)


def test_nobody_is_forgotten_twice_or_in_vain():
    place = Place()
    place.round()
    place.forget("eve")
    for client in ("eve", "dan"):
        with pytest.raises(LedgerError, match=f"no version holds an update of {client}"):
            place.forget(client)


def test_what_was_read_too_early_is_refused():
    place = Place()
    place.round()
    commits = place.commits
    place.round()
    with pytest.raises(LedgerError, match="made meanwhile"):
        place.store.transact(lambda head, now: forget(head, "eve", commits, {}, now))
