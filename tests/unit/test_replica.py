"""A participant's copy of the ledger, pushed through what a ledger really announces."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed.errors import ArtifactAltered, GenesisMismatch
from fedkseed.ledger.fold import close, snapshot
from fedkseed.messages import SnapshotRequest
from fedkseed.replica import (
    LONGEST_SECONDS,
    PATIENCE_SECONDS,
    WAITING,
    Fail,
    Replica,
    Wake,
    announce,
    begin,
    receive,
    remind,
    restore,
)
from fedkseed.transport.door import Publish
from tests.ledgers import NAME, at_version, genesis, ledger

FRESH = Replica(federation=NAME, participant="ann")


@pytest.fixture(scope="module")
def heads():
    """The heads of versions 0 .. 5."""
    found = [ledger(deadline_seconds=60.0)]
    for version in range(1, 6):
        found.append(at_version(found[-1], version)[0])
    return found


@pytest.fixture(scope="module")
def rounds(heads):
    return [head.round for head in heads]


@pytest.fixture
def at_two(heads):
    return restore(FRESH, snapshot(heads[2]))


def requests(effects):
    return [letter.content for effect in effects if isinstance(effect, Publish) for letter in effect.letters]


def holds(replica, head):
    return replica.state == (head.version, head.digest) and np.array_equal(replica.held.coefficients, head.coefficients)


def test_a_fresh_one_asks_for_everything():
    replica, effects = begin(FRESH)
    assert requests(effects) == [SnapshotRequest(federation=NAME, client="ann", have=None)]
    assert Wake(after_seconds=PATIENCE_SECONDS, alarm=replica.alarm) in effects


def test_a_snapshot_is_the_whole_ledger(heads, at_two):
    assert holds(at_two, heads[2])
    assert at_two.genesis == genesis()
    assert not at_two.incomplete


def test_announcements_lead_to_the_same_state_as_the_ledger(heads, at_two, rounds):
    replica = at_two
    for head, round_ in zip(heads[3:], rounds[3:], strict=True):
        replica = announce(replica, round_)
        assert holds(replica, head)


def test_rounds_wait_while_a_snapshot_is_under_way_and_are_applied_in_order(heads, rounds):
    replica, _ = begin(FRESH)
    for version in (4, 3, 5):
        replica, effects = receive(replica, rounds[version])
        assert effects == ()
    replica, effects = receive(replica, snapshot(heads[2]))
    assert holds(replica, heads[5])
    assert not replica.asked
    assert requests(effects) == []


def test_a_gap_asks_for_a_snapshot_once(at_two, rounds):
    replica, effects = receive(at_two, rounds[4])
    assert requests(effects) == [SnapshotRequest(federation=NAME, client="ann", have=2)]
    replica, effects = receive(replica, rounds[5])
    assert effects == ()
    assert replica.held is at_two.held


def test_a_gap_that_closes_by_itself_needs_no_snapshot(heads, at_two, rounds):
    replica, _ = receive(at_two, rounds[4])
    replica, effects = receive(replica, rounds[3])
    assert holds(replica, heads[4])
    assert not replica.asked
    assert requests(effects) == []


def test_old_rounds_and_old_snapshots_change_nothing(heads, rounds):
    replica = restore(FRESH, snapshot(heads[3]))
    for old in (rounds[0], rounds[2], rounds[3], snapshot(heads[1])):
        after, effects = receive(replica, old)
        assert after.held is replica.held
        assert effects == ()


def test_of_one_version_the_highest_attempt_counts(heads, at_two):
    again, _ = close(heads[2], 2, 0, 2000.0)
    third, _ = close(again, 2, 1, 3000.0)
    replica = announce(announce(at_two, third.round), again.round)
    assert replica.held.round == third.round
    assert holds(replica, third)


def test_of_one_version_that_waits_the_highest_attempt_counts(heads, at_two, rounds):
    again, _ = close(heads[4], 4, 0, 2000.0)
    replica = announce(announce(announce(at_two, again.round), rounds[4]), rounds[3])
    assert replica.held.round == again.round


def test_the_round_of_another_federation_is_ignored(at_two, rounds):
    assert announce(at_two, replace(rounds[3], federation="another")) is at_two


@pytest.mark.parametrize(
    "fault",
    [{"state": bytes(16)}, {"delta": b""}, {"delta": None}, {"delta": b"\xff" * 16}],
    ids=["state", "empty", "nil", "bad"],
)
def test_a_delta_that_does_not_give_the_announced_state_discards_the_copy_and_asks(heads, at_two, rounds, fault):
    replica, effects = receive(at_two, replace(rounds[3], **fault))
    assert replica.held is None
    assert replica.mismatches == 1
    assert requests(effects) == [SnapshotRequest(federation=NAME, client="ann", have=None)]
    replica, _ = receive(replica, snapshot(heads[3]))
    assert holds(replica, heads[3])


def test_a_mismatch_asks_even_while_an_answer_is_awaited(at_two, rounds):
    replica, _ = begin(at_two)
    _, effects = receive(replica, replace(rounds[3], state=bytes(16)))
    assert requests(effects) == [SnapshotRequest(federation=NAME, client="ann", have=None)]


def test_an_attempt_at_another_state_discards_the_copy(heads, at_two):
    again, _ = close(heads[2], 2, 0, 2000.0)
    replica = announce(at_two, replace(again.round, state=bytes(16)))
    assert replica.held is None
    assert replica.mismatches == 1


@pytest.mark.parametrize("part", ["state", "coefficients", "version"])
def test_a_snapshot_that_does_not_verify_is_fatal(heads, part):
    good = snapshot(heads[3])
    bad = replace(good, **{part: {"state": bytes(16), "coefficients": bytes(16), "version": 4}[part]})
    replica, effects = receive(FRESH, bad)
    assert replica is FRESH
    assert [type(effect.error) for effect in effects if isinstance(effect, Fail)] == [ArtifactAltered]


def test_a_snapshot_that_is_no_vector_of_this_pool_is_fatal(heads):
    with pytest.raises(ArtifactAltered, match="version 3"):
        restore(FRESH, replace(snapshot(heads[3]), coefficients=b"\xff"))


def test_a_snapshot_of_another_genesis_is_fatal(heads, at_two):
    other = replace(snapshot(heads[3]), genesis=genesis(lr=0.25))
    with pytest.raises(GenesisMismatch):
        restore(at_two, other)


def test_a_snapshot_of_another_federation_is_fatal(heads):
    with pytest.raises(GenesisMismatch):
        restore(Replica(federation="another", participant="ann"), snapshot(heads[3]))


def test_a_snapshot_brings_the_importance_with_it():
    head, _ = at_version(ledger(importance=True), 2)
    replica = restore(FRESH, snapshot(head))
    assert replica.held.round == head.round
    assert replica.held.round.importance is not None
    small = replace(snapshot(head), round=replace(head.round, importance=None))
    assert restore(FRESH, small).held.round == head.round


def test_news_are_expected_some_time_after_the_deadline(at_two, rounds):
    replica, effects = receive(at_two, rounds[3])
    assert effects == (Wake(after_seconds=60.0 + PATIENCE_SECONDS, alarm=replica.alarm),)


def test_without_news_it_asks_and_goes_on_asking(at_two, rounds):
    replica, _ = receive(at_two, rounds[3])
    replica, effects = remind(replica, replica.alarm)
    assert requests(effects) == [SnapshotRequest(federation=NAME, client="ann", have=3)]
    assert remind(replica, replica.alarm)[1] != ()


def test_an_alarm_is_void_once_there_was_news(at_two, rounds):
    replica, _ = receive(at_two, rounds[3])
    alarm = replica.alarm
    replica, _ = receive(replica, rounds[4])
    assert remind(replica, alarm) == (replica, ())


def test_an_answer_without_news_is_an_answer(at_two, rounds):
    replica, _ = begin(at_two)
    replica, effects = receive(replica, rounds[2])
    assert not replica.asked
    assert effects == (Wake(after_seconds=60.0 + PATIENCE_SECONDS, alarm=replica.alarm),)


def test_after_the_last_round_no_news_are_expected(at_two, rounds):
    replica, effects = receive(at_two, replace(rounds[3], last=True))
    assert replica.held.round.last
    assert effects == ()


@pytest.mark.parametrize(("opened", "deadline"), [(1e300, -1e300), (-1e300, 1e300), (5000.0, 1000.0)])
def test_a_clock_that_is_wrong_costs_neither_rest_nor_news(at_two, rounds, opened, deadline):
    """It asks neither in a hot loop nor never again, whatever an announcer's clock says."""
    _, effects = receive(at_two, replace(rounds[3], opened=opened, deadline=deadline))
    (wake,) = (effect for effect in effects if isinstance(effect, Wake))
    assert PATIENCE_SECONDS <= wake.after_seconds <= LONGEST_SECONDS + PATIENCE_SECONDS


def test_of_rounds_without_end_only_the_newest_wait(at_two, rounds):
    """Announcements that nothing leads to cost no more memory than a mailbox holds."""
    replica = at_two
    for version in range(100, 100 + 3 * WAITING):
        replica = announce(replica, replace(rounds[3], version=version))
    assert [waiting.version for waiting in replica.waiting] == list(range(100 + 2 * WAITING, 100 + 3 * WAITING))
    assert replica.held is at_two.held


def test_what_it_holds_cannot_be_written_to(at_two, rounds):
    for replica in (at_two, announce(at_two, rounds[3])):
        with pytest.raises(ValueError, match="read-only"):
            replica.held.coefficients[0] = 1


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_whatever_comes_in_whatever_order_it_holds_what_the_ledger_held_and_misses_nothing(heads, sequence):
    """A number is the round of that version; a negative one, or a zero, is a snapshot of it."""
    replica, _ = begin(FRESH)
    for number in sequence:
        replica, _ = receive(replica, heads[number].round if number > 0 else snapshot(heads[-number]))
        assert replica.held is None or holds(replica, heads[replica.held.version])
        assert replica.asked or not replica.incomplete
    assert replica.mismatches == 0
    replica, _ = receive(replica, snapshot(heads[5]))
    assert holds(replica, heads[5])
    assert not replica.incomplete
