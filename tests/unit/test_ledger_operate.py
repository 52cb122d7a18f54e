"""What an operator does to a ledger: roll back, pause, resume, end, change the policy."""

import numpy as np
import pytest

from fedkseed.errors import LedgerError, UnknownVersion
from fedkseed.ledger.fold import fold
from fedkseed.ledger.log import replay
from fedkseed.ledger.operate import finish, pause, resume, roll_back, set_policy
from fedkseed.packing import unpack_integers
from tests.ledgers import K, at_version, ledger, policy, update


def rolled_back(to, **settings):
    head, commits = at_version(ledger(**settings), 3)
    before, _ = fold(head, [update(head)], 5.0)
    after, told = roll_back(before, replay(commits[:to], K), to, 6.0)
    return before, commits, after, told


def test_a_rollback_is_one_more_version_with_the_old_coefficients():
    before, commits, after, told = rolled_back(1)
    (commit,) = told.commits
    assert (commit.version, commit.kind, commit.members, commit.weight) == (4, "rollback", (), 0)
    assert after.coefficients.tolist() == unpack_integers(commits[0].delta, K).tolist()
    assert (before.coefficients + unpack_integers(commit.delta, K)).tolist() == after.coefficients.tolist()
    assert told.rounds == (after.round,)
    assert replay((*commits, commit), K).tolist() == after.coefficients.tolist()


def test_a_rollback_starts_from_zero_residue_and_an_empty_round():
    _, _, after, _ = rolled_back(1)
    assert not after.residue.any()
    assert (after.pending.weight, after.pending.members) == (0, ())
    assert not after.pending.numerators.any()


def test_members_of_the_open_round_get_a_second_receipt():
    before, _, after, told = rolled_back(0)
    (receipt,) = told.voided
    assert (receipt.client, receipt.base, receipt.outcome, receipt.weight) == ("ann", 3, "voided", 0)
    assert receipt.reason == "rolled back to version 0"
    assert fold(after, [update(before)], 7.0)[1].receipts == (receipt,)


def test_everything_measured_before_a_rollback_is_refused():
    before, _, after, _ = rolled_back(2, max_staleness=9)
    for base in range(4):
        _, told = fold(after, [update(before, "bob", base=base)], 7.0)
        assert told.receipts[0].outcome == "stale"
        assert "rollback at version 4" in told.receipts[0].reason
    assert fold(after, [update(after, "bob")], 7.0)[1].receipts[0].outcome == "folded"


@pytest.mark.parametrize("to", [-1, 4])
def test_only_versions_of_the_ledger_can_be_gone_back_to(to):
    head, _ = at_version(ledger(), 3)
    with pytest.raises(UnknownVersion, match=f"version {to}"):
        roll_back(head, head.coefficients, to, 0.0)


def test_a_rollback_needs_as_many_coefficients_as_the_pool_has():
    head, _ = at_version(ledger(), 3)
    with pytest.raises(LedgerError, match="1 coefficients for a pool of 128"):
        roll_back(head, np.zeros(1, np.int64), 0, 0.0)


def test_coefficients_of_another_version_are_not_gone_back_to():
    head, commits = at_version(ledger(), 3)
    with pytest.raises(LedgerError, match="not those of version 1"):
        roll_back(head, replay(commits[:2], K), 1, 0.0)


def test_an_ended_federation_can_still_go_back():
    head, commits = at_version(ledger(total=3), 3)
    after, told = roll_back(head, replay(commits[:1], K), 1, 6.0)
    assert (after.state, after.round.last, told.rounds) == ("closed", True, (after.round,))


def test_resuming_closes_a_round_that_filled_up_meanwhile():
    start = ledger(cohort=2)
    head, _ = pause(start, 0.0)
    head, _ = fold(head, [update(start, name) for name in ("ann", "bob", "cleo")], 5.0)
    head, told = resume(head, 6.0)
    assert (head.state, head.version) == ("open", 1)
    assert len(told.commits[0].members) == 3


def test_resuming_gives_an_open_round_a_new_deadline():
    start = ledger(cohort=2, deadline_seconds=60.0)
    head, _ = pause(start, 0.0)
    head, told = resume(head, 5000.0)
    assert (head.state, head.version) == ("open", 0)
    assert (told.rounds[0].attempt, told.rounds[0].deadline) == (1, 5060.0)


def test_only_what_is_open_is_paused_and_only_what_is_paused_is_resumed():
    start = ledger()
    paused, _ = pause(start, 0.0)
    ended, _ = finish(paused, 0.0)
    assert resume(start, 0.0)[0] is start
    assert pause(paused, 0.0)[0] is paused
    assert pause(ended, 0.0)[0] is ended
    assert resume(ended, 0.0)[0] is ended


def test_finishing_announces_the_standing_version_as_the_last():
    head, _ = at_version(ledger(), 1)
    head, _ = fold(head, [update(head)], 5.0)
    ended, told = finish(head, 6.0)
    assert (ended.state, ended.version, ended.pending.members) == ("closed", 1, ())
    assert [(r.version, r.attempt, r.last) for r in told.rounds] == [(1, 1, True)]
    assert [r.outcome for r in told.voided] == ["voided"]
    assert finish(ended, 7.0)[0] is ended


def test_a_policy_rules_the_open_round_only_where_it_was_not_announced():
    head, _ = set_policy(ledger(cohort=9), policy(cohort=1, lr=0.25, steps=5, max_staleness=3), 5.0)
    assert (head.round.lr, head.round.steps) == (0.5, 200)
    head, told = fold(head, [update(head)], 6.0)
    assert told.commits[0].lr == 0.5
    assert (head.round.lr, head.round.steps, head.round.max_staleness) == (0.25, 5, 3)


def test_every_commit_records_the_policy_it_was_made_under():
    head, first = at_version(ledger(), 1)
    head, _ = set_policy(head, policy(lr=0.25), 5.0)
    _, second = at_version(head, 2)
    assert first[0].policy_digest != second[0].policy_digest
    assert len(bytes.fromhex(first[0].policy_digest)) == 32


def test_a_smaller_cohort_that_is_already_there_closes_the_round():
    head, _ = fold(ledger(cohort=9), [update(ledger(), "ann"), update(ledger(), "bob")], 5.0)
    head, told = set_policy(head, policy(cohort=2), 6.0)
    assert (head.version, len(told.commits)) == (1, 1)


def test_an_end_that_has_passed_ends_training_at_once():
    head, _ = at_version(ledger(), 3)
    head, told = set_policy(head, policy(total=2), 6.0)
    assert (head.state, head.version) == ("closed", 3)
    assert told.rounds[0].last


def test_an_ended_federation_takes_a_policy_and_stays_ended():
    head, _ = finish(ledger(), 0.0)
    head, told = set_policy(head, policy(cohort=1, total=100), 6.0)
    assert (head.state, told.rounds, head.policy.rounds.total) == ("closed", (), 100)


def test_staleness_follows_a_new_policy_at_once():
    head, _ = at_version(ledger(max_staleness=0), 2)
    head, _ = set_policy(head, policy(max_staleness=2, staleness_law="polynomial"), 5.0)
    receipts = fold(head, [update(head, "late", base=1)], 6.0)[1].receipts
    assert [receipt.outcome for receipt in receipts] == ["discounted"]
