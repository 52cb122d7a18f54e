"""Folding: what closes a round, what everyone is told, and that order, duplication and batching change nothing."""

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkseed.codec import decode, encode
from fedkseed.errors import GenesisMismatch
from fedkseed.federation import Target
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.fold import announced, close, fold, found, score, snapshot, unannounced, untold
from fedkseed.ledger.invitation import nonce
from fedkseed.ledger.operate import finish, pause, roll_back
from fedkseed.packing import unpack_integers
from fedkseed.pool.importance import unpack
from tests.ledgers import NAME, K, at_version, evaluation, genesis, ledger, ledger_bytes, policy, update

pairs = st.lists(st.tuples(st.integers(0, K - 1), st.floats(-32768, 32768, width=16)), max_size=12)
START, _ = at_version(ledger(cohort=3, max_staleness=2, staleness_law="polynomial", importance=True), 2)


@st.composite
def rounds_of_updates(draw):
    """Updates of distinct clients and mixed staleness that fill a round, and another order of them with duplicates."""
    contents = draw(st.lists(st.tuples(pairs, st.integers(0, 2), st.integers(1, 5000)), min_size=1, max_size=6))
    updates = [
        update(START, f"client-{i}", base=base, n=n, k=[k for k, _ in sent], g=[g for _, g in sent])
        for i, (sent, base, n) in enumerate(contents)
    ]
    again = draw(st.permutations(updates + draw(st.lists(st.sampled_from(updates), max_size=5))))
    cuts = sorted(draw(st.lists(st.integers(0, len(again)), max_size=4)))
    edges = [0, *cuts, len(again)]
    return updates, [again[a:b] for a, b in pairwise(edges)]


def folded_in(batches, start):
    head, commits, receipts = start, (), []
    for batch in batches:
        head, told = fold(head, batch, 2000.0)
        commits += told.commits
        receipts += told.receipts
    return head, commits, receipts


@settings(max_examples=200)
@given(rounds_of_updates(), st.booleans())
def test_any_order_duplication_and_batching_gives_the_same_ledger_bytes(case, closes):
    updates, batches = case
    start = replace(START, policy=policy(cohort=len(updates) + (not closes), max_staleness=2, importance=True))
    head, commits, first = folded_in([updates], start)
    other, other_commits, receipts = folded_in(batches, start)
    assert len(commits) == closes
    assert ledger_bytes(other, other_commits) == ledger_bytes(head, commits)
    assert other.digest == head.digest
    expected = {receipt.client: receipt for receipt in first}
    assert all(receipt == expected[receipt.client] for receipt in receipts)


@given(rounds_of_updates())
def test_a_round_is_what_its_updates_add_up_to_one_pair_at_a_time(case):
    updates, _ = case
    start = replace(START, policy=policy(cohort=len(updates), max_staleness=2))
    head, told = fold(start, updates, 2000.0)
    numerators, importance, counts, weight = [0] * K, [0] * K, [0] * K, 0
    for message, receipt in zip(updates, told.receipts, strict=True):
        weight += receipt.weight
        for k, g in zip(message.seed_indices.tolist(), message.gradients.tolist(), strict=True):
            numerators[k] += receipt.weight * round(g * 65536)
            importance[k] += round(min(abs(g), 1000.0) * 65536)
            counts[k] += 1
    exact = [
        (0.5 / (0.5 / 16)) * (float(n) / (65536 * float(weight))) + r / 65536
        for n, r in zip(numerators, start.residue.tolist(), strict=True)
    ]
    assert (head.coefficients - start.coefficients).tolist() == [round(x) for x in exact]
    assert head.residue.tolist() == [round((x - round(x)) * 65536) for x in exact]
    assert (head.importance_sums - start.importance_sums).tolist() == importance
    assert (head.importance_counts - start.importance_counts).tolist() == counts
    assert told.commits[0].weight == weight


def test_a_ledger_is_these_numbers():
    settings = {"cohort": 3, "max_staleness": 2, "staleness_law": "polynomial", "importance": True}
    head, _ = at_version(ledger(**settings), 3)
    late = [update(head, f"late-{base}", base=base, n=7, k=(1, 2, 127), g=(0.1, -17.3, 2048.5)) for base in (1, 2, 3)]
    head, _ = fold(head, late, 2000.0)
    assert head.coefficients[[0, 1, 2, 3, 127]].tolist() == [8, -86, -357, -104, 32768]
    parts = (head.coefficients, head.residue, head.importance_sums, head.importance_counts)
    assert sha256(b"".join(part.astype("<i8").tobytes() for part in parts) + head.round.importance).hexdigest() == (
        "569d7a54da8c5b5e8768e795b6f84810e4602a10788bdb77173d16c9fe919345"
    )
    assert state_digest(bytes(32), 4, head.coefficients).hex() == (
        "947d522fd5c40993bca62f402e380a454b89f8d9b550189ce13d0053c2ccbd0e"
    )


def test_a_ledger_begins_with_the_base_model_and_an_open_round():
    head = found(genesis(), policy(deadline_seconds=60.0, max_staleness=3, steps=14, directions_per_batch=7), 1000.0)
    assert not head.coefficients.any()
    assert head.digest == state_digest(genesis_digest(genesis()), 0, np.zeros(K, np.int64))
    opened = head.round
    assert (opened.version, opened.attempt, opened.last, opened.delta) == (0, 0, False, None)
    assert (opened.opened, opened.deadline, opened.max_staleness) == (1000.0, 1060.0, 3)
    assert (opened.steps, opened.directions_per_batch) == (14, 7)
    assert (opened.state, opened.nonce) == (head.digest[:16], nonce(head.digest, 0))


def test_a_ledger_needs_a_genesis():
    with pytest.raises(GenesisMismatch):
        found(b"{}", policy(), 0.0)


def test_arrays_of_a_head_cannot_be_changed():
    for head in (ledger(), fold(ledger(), [update(ledger())], 0.0)[0], at_version(ledger(), 2)[0]):
        arrays = (head.coefficients, head.residue, head.importance_sums, head.importance_counts)
        sums = (head.pending.numerators, head.pending.importance_sums, head.pending.importance_counts)
        assert not any(values.flags.writeable for values in arrays + sums)


def test_a_round_closes_with_the_update_that_fills_the_cohort():
    head, told = fold(ledger(cohort=2), [update(ledger(), "ann"), update(ledger(), "bob", g=(3.0,))], 5.0)
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert [receipt.version for receipt in told.receipts] == [0, 0]
    (commit,) = told.commits
    assert (commit.version, commit.kind, commit.weight, commit.lr, commit.closed_at) == (1, "round", 512, 0.5, 5.0)
    assert [member.client for member in commit.members] == ["ann", "bob"]
    assert head.coefficients[3] == 32  # (lr / tick) * (1 + 3) / 2
    assert unpack_integers(commit.delta, K)[3] == 32
    assert commit.state == head.digest
    assert commit.round == encode(head.round)
    assert told.rounds == (head.round,)
    assert (head.version, head.pending.weight, head.pending.members) == (1, 0, ())


def test_the_rest_of_a_batch_is_decided_against_the_new_head():
    start = ledger(cohort=2, max_staleness=1, staleness_law="polynomial")
    head, told = fold(start, [update(start, f"c{i}") for i in range(5)], 5.0)
    assert [(r.outcome, r.staleness, r.version) for r in told.receipts] == [
        ("folded", 0, 0),
        ("folded", 0, 0),
        ("discounted", 1, 1),
        ("discounted", 1, 1),
        ("stale", 2, 2),
    ]
    assert [commit.version for commit in told.commits] == [1, 2]
    assert [opened.version for opened in told.rounds] == [1, 2]
    assert head.version == 2


def test_a_synchronous_round_refuses_whoever_comes_after_it_closed():
    start = ledger(cohort=1)
    _, told = fold(start, [update(start, "ann"), update(start, "bob")], 5.0)
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "stale"]


def test_a_duplicate_gets_its_first_receipt_and_changes_nothing():
    start = ledger(cohort=9)
    head, told = fold(start, [update(start), update(start, g=(7.0,))], 5.0)
    again, retold = fold(head, [update(start)], 6.0)
    assert told.receipts[0] == told.receipts[1] == retold.receipts[0]
    assert len(head.pending.members) == 1
    assert again is head


@pytest.mark.parametrize("changes", [{"n": 0}, {"base": 0}])
def test_a_refusal_for_good_is_remembered_while_its_base_is(changes):
    head, _ = at_version(ledger(), 1)
    head, told = fold(head, [update(head, **changes)], 5.0)
    later, _ = at_version(head, 3)
    assert told.receipts[0].outcome in ("invalid", "stale")
    assert fold(later, [update(head, base=told.receipts[0].base)], 9.0)[1].receipts == told.receipts


@pytest.mark.parametrize("changes", [{"state": bytes(16)}, {"federation": "another"}, {"base": 1}])
def test_a_refusal_that_honest_work_can_overcome_leaves_no_trace(changes):
    start = ledger(cohort=9)
    head, told = fold(start, [update(start, **changes)], 5.0)
    assert told.receipts[0].outcome in ("mismatch", "ahead")
    assert head is start
    assert fold(head, [update(start)], 5.0)[1].receipts[0].outcome == "folded"


def test_an_update_that_was_ahead_is_folded_once_the_head_is_there():
    future, _ = at_version(ledger(), 1)
    early = update(future)
    start = ledger()
    head, told = fold(start, [early], 0.0)
    assert (told.receipts[0].outcome, told.receipts[0].staleness) == ("ahead", -1)
    head, _ = at_version(head, 1)
    assert fold(head, [early], 0.0)[1].receipts[0].outcome == "folded"


def test_made_up_bases_and_clients_cost_no_memory():
    start, _ = at_version(ledger(), 9)
    crowd = [update(start, f"bot-{i}", base=base) for i, base in enumerate([0, 1, 2, 10, 2**60])]
    head, _ = fold(start, crowd, 5.0)
    assert head is start


def test_receipts_are_forgotten_some_versions_after_their_base():
    head, _ = at_version(ledger(max_staleness=1), 20)
    assert sorted(head.inbox) == sorted(head.window) == [15, 16, 17, 18, 19, 20]


def test_before_a_sum_could_pass_two_to_the_62_the_round_closes():
    start = ledger(cohort=100, max_staleness=1)
    heavy = [update(start, f"c{i:02}", k=[9] * 127, g=[32768.0] * 127, n=4096) for i in range(17)]
    head, told = fold(start, heavy, 5.0)
    assert [len(commit.members) for commit in told.commits] == [16]
    assert [receipt.staleness for receipt in told.receipts] == [0] * 16 + [1]
    assert head.pending.members[0].client == "c16"
    assert head.coefficients[9] == 16 * 127 * 32768


def test_sums_that_cancel_do_not_close_a_round():
    start = ledger(cohort=100)
    signs = [update(start, f"c{i:02}", k=[9] * 127, g=[32768.0 * (-1) ** i] * 127, n=4096) for i in range(40)]
    head, told = fold(start, signs, 5.0)
    assert told.commits == ()
    assert head.pending.numerators[9] == 0


def test_a_commit_that_would_not_be_exact_is_voided_and_its_members_are_told():
    start, _ = at_version(ledger(), 1)
    start = replace(start, round=replace(start.round, lr=1e30))
    head, told = fold(start, [update(start, "bob"), update(start, "ann")], 5.0)
    (commit,) = told.commits
    assert (commit.kind, commit.version, len(commit.members)) == ("voided", 2, 2)
    assert not unpack_integers(commit.delta, K).any()
    assert head.coefficients.tolist() == start.coefficients.tolist()
    assert head.residue.tolist() == start.residue.tolist()
    assert head.importance_counts.tolist() == start.importance_counts.tolist()
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert [(r.client, r.base, r.outcome, r.weight) for r in told.voided] == [("ann", 1, "voided", 0), ("bob", 1, "voided", 0)]
    assert fold(head, [update(start, "ann")], 6.0)[1].receipts == told.voided[:1]


def test_at_the_deadline_a_round_closes_with_the_minimum():
    start = ledger(cohort=9, minimum=2)
    head, _ = fold(start, [update(start, "ann"), update(start, "bob")], 5.0)
    closed, told = close(head, 0, 0, 4600.0)
    assert (closed.version, len(told.commits), told.rounds) == (1, 1, (closed.round,))


def test_at_the_deadline_a_round_with_fewer_is_announced_again():
    start = ledger(cohort=9, minimum=2, deadline_seconds=60.0, importance=True)
    head, _ = fold(start, [update(start)], 5.0)
    again, told = close(head, 0, 0, 1060.0)
    assert told.commits == ()
    assert told.rounds == (again.round,)
    expected = replace(head.round, attempt=1, nonce=nonce(head.digest, 1), opened=1060.0, deadline=1120.0)
    assert again.round == expected
    assert again.pending is head.pending


@pytest.mark.parametrize(("version", "attempt"), [(0, 1), (1, 0), (7, 7)])
def test_a_deadline_of_any_other_round_changes_nothing(version, attempt):
    head, _ = fold(ledger(cohort=9), [update(ledger())], 5.0)
    assert close(head, version, attempt, 9999.0)[0] is head


def test_training_is_over_after_the_last_version():
    head, commits = at_version(ledger(total=2), 2)
    assert head.state == "closed"
    assert decode(commits[0].round).last is False
    assert decode(commits[1].round).last is True
    assert close(head, 2, 0, 9e9)[0] is head
    assert fold(head, [update(head)], 5.0)[1].receipts[0].reason == "training is over"


def test_scores_are_kept_by_version():
    head, _ = at_version(ledger(), 3)
    head, told = score(head, evaluation(head, 1, loss=0.5), 5.0)
    head, _ = score(head, evaluation(head, 3, loss=0.4, accuracy=0.8), 5.0)
    assert told.reason == ""
    assert head.evaluations == {1: {"loss": 0.5}, 3: {"loss": 0.4, "accuracy": 0.8}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"federation": "another"}, f"this is federation {NAME}"),
        ({"client": "ann"}, "ann is not an evaluator"),
        ({"version": 2}, "version 2 is unknown"),
        ({"state": bytes(16)}, "state digest is not that of version 1"),
    ],
)
def test_scores_of_something_else_are_ignored_with_a_reason(changes, reason):
    head, _ = at_version(ledger(), 1)
    after, told = score(head, replace(evaluation(head, 1, loss=0.5), **changes), 5.0)
    assert after is head
    assert reason in told.reason


def test_scores_by_somebody_the_policy_does_not_name_end_nothing():
    """Any client may publish scores; only an evaluator's count towards the target."""
    target = Target(metric="loss", at_most=1.0)
    head = ledger(target=target, evaluators=("eve", "eva"))
    perfect = replace(evaluation(head, 0, loss=0.0), client="ann")
    assert score(head, perfect, 5.0)[0] is head
    assert score(head, replace(perfect, client="evaluator"), 5.0)[0] is head
    assert score(head, replace(perfect, client="eva"), 5.0)[0].state == "closed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_left_out_and_reaches_no_target(value):
    for target in (Target(metric="loss", at_most=1.0), Target(metric="loss", at_least=1.0)):
        head, _ = score(ledger(target=target), evaluation(ledger(), 0, loss=value, accuracy=0.5), 5.0)
        assert head.state == "open"
        assert head.evaluations == {0: {"accuracy": 0.5}}


def test_versions_long_past_are_not_scored_any_more():
    head, _ = at_version(ledger(), 1)
    early = evaluation(head, 0, loss=0.5)
    base = replace(head.window[1], state=bytes(32))
    late = replace(head, version=1024, states={0: head.states[0], 1024: base.state}, window={1024: base}, inbox={1024: {}})
    late, _ = at_version(late, 1025)
    assert sorted(late.states) == [1024, 1025]
    assert score(late, early, 5.0)[1].reason == "version 0 is unknown or too old to be scored"


def test_importance_never_overflows():
    start = ledger(cohort=1)
    full = np.full(K, 2**62 - 1, np.int64)
    head, _ = fold(replace(start, importance_sums=full, importance_counts=full), [update(start)], 5.0)
    assert head.importance_sums[[2, 3]].tolist() == [2**62 - 1, 2**62]


def test_a_score_that_reaches_the_target_ends_training():
    head, _ = at_version(ledger(target=Target(metric="loss", at_most=0.6)), 1)
    head, _ = fold(head, [update(head)], 5.0)
    head, told = score(head, evaluation(head, 1, loss=0.61, accuracy=0.1), 5.0)
    assert (head.state, told.rounds) == ("open", ())
    ended, told = score(head, evaluation(head, 1, loss=0.6), 5.0)
    assert ended.state == "closed"
    assert told.rounds == (ended.round,)
    assert (ended.round.version, ended.round.attempt, ended.round.last) == (1, 1, True)
    assert [(r.client, r.outcome) for r in told.voided] == [("ann", "voided")]
    assert score(ended, evaluation(ended, 1, loss=0.5), 5.0)[1].rounds == ()


def test_scores_without_the_metric_of_the_target_do_not_end_training():
    head = ledger(target=Target(metric="loss", at_least=0.0))
    assert score(head, evaluation(head, 0, accuracy=1.0), 5.0)[0].state == "open"


def test_importance_is_shown_as_it_was_when_the_round_opened():
    start = ledger(cohort=2, importance=True)
    assert not unpack(start.round.importance, K).any()
    middle, _ = fold(start, [update(start, "ann", g=(1.0,))], 5.0)
    assert middle.round.importance == start.round.importance
    head, _ = fold(middle, [update(start, "bob", k=(4,), g=(2000.0,))], 5.0)
    q = unpack(head.round.importance, K)
    assert (q[4], q.argmax()) == (15, 4)
    assert head.importance_sums[[3, 4]].tolist() == [65536, 1000 * 65536]  # unweighted and clipped


def test_importance_is_counted_but_not_shown_without_the_setting():
    head, _ = at_version(ledger(), 1)
    assert head.round.importance is None
    assert head.importance_counts.sum() == 4


def test_a_snapshot_is_the_whole_ledger_at_the_head():
    head, _ = at_version(ledger(importance=True), 3)
    sent = decode(encode(snapshot(head)))
    assert (sent.version, sent.genesis, sent.round) == (3, genesis(), head.round)
    assert sent.importance == head.round.importance
    assert state_digest(genesis_digest(sent.genesis), 3, unpack_integers(sent.coefficients, K))[:16] == sent.state


def test_whatever_was_not_announced_is_announced_in_order():
    head, commits = at_version(ledger(), 3)
    assert [r.version for r in unannounced(head, commits)] == [1, 2, 3]
    head, _ = announced(head, 1, 0)
    missing = unannounced(head, commits)
    assert [encode(r) for r in missing] == [commit.round for commit in commits[1:]]
    head, _ = announced(head, 3, 0)
    assert unannounced(head, commits) == ()
    again, _ = close(head, 3, 0, 9e9)
    assert unannounced(again, ()) == (again.round,)


def test_members_of_a_voided_round_are_told_with_what_is_not_announced():
    head, _ = at_version(ledger(cohort=3), 1)
    head, _ = announced(head, 1, 0)
    head, _ = fold(head, [update(head, "bob"), update(head, "ann")], 5.0)
    assert untold(head) == ()
    after, told = roll_back(head, head.coefficients, 1, 6.0)
    assert untold(after) == told.voided
    assert [receipt.client for receipt in untold(after)] == ["ann", "bob"]
    assert untold(announced(after, 2, 0)[0]) == ()


def test_members_are_told_whatever_else_was_made_since_the_last_announcement():
    head, _ = announced(ledger(cohort=1), 0, 0)
    head, _ = pause(head, 0.0)
    head, _ = fold(head, [update(head, "ann")], 5.0)
    head, told = roll_back(head, head.coefficients, 0, 6.0)
    head, _ = finish(replace(head, state="open"), 7.0)
    assert untold(head) == told.voided


def test_members_who_were_told_with_an_earlier_announcement_are_not_told_again():
    head, _ = announced(ledger(cohort=3), 0, 0)
    head, _ = fold(head, [update(head, "ann")], 5.0)
    head, _ = roll_back(head, head.coefficients, 0, 6.0)
    head, _ = announced(head, 1, 0)
    head, _ = at_version(head, 2)
    assert head.inbox[0]["ann"].outcome == "voided"
    assert untold(head) == ()


def test_without_any_announcement_every_member_of_a_voided_round_is_told():
    head, _ = fold(ledger(), [update(ledger(), "ann")], 5.0)
    head, told = finish(head, 6.0)
    assert untold(head) == told.voided


def test_the_opening_of_a_ledger_is_announced():
    head = ledger()
    assert unannounced(head, ()) == (head.round,)


def test_an_older_announcement_is_not_recorded():
    head, _ = announced(ledger(), 4, 1)
    assert announced(head, 4, 0)[0] is head
    assert announced(head, 4, 1)[0] is head
    assert announced(head, 5, 0)[0].announced == (5, 0)


def test_while_paused_updates_are_folded_but_the_round_stays_open():
    start = ledger(cohort=1)
    head, _ = pause(start, 0.0)
    head, told = fold(head, [update(start, "ann"), update(start, "bob")], 5.0)
    assert [receipt.outcome for receipt in told.receipts] == ["folded", "folded"]
    assert (head.version, len(head.pending.members)) == (0, 2)
    assert close(head, 0, 0, 9e9)[0] is head


def test_every_change_has_its_revision():
    start = ledger(cohort=2)
    head, _ = fold(start, [update(start, "ann")], 5.0)
    assert head.revision > start.revision
    later, _ = fold(head, [update(start, "bob")], 5.0)
    assert later.revision > head.revision
