"""Robust folding: exact medians, frozen bounds, agreement within a round, and clients that are excluded by rule."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkseed.errors import LedgerError
from fedkseed.federation import Robust
from fedkseed.ledger.agreement import judged
from fedkseed.ledger.decide import Fold, Refusal, decide
from fedkseed.ledger.fold import close, fold
from fedkseed.ledger.operate import readmit, set_policy
from fedkseed.ledger.screen import length
from fedkseed.ledger.statistics import BUCKETS, PAIR, Bounds, buckets, histogram, median
from tests.ledgers import K, ledger, ledger_bytes, policy, update

ROBUST = Robust(clip=4.0, norm=2.0, weight=3.0, allowance=0.125, quarantine=8.0)
HONEST = ("ann", "bob", "cec", "dan")
SEEDS = range(8)


def robust_ledger(**changes):
    return ledger(cohort=5, robust=replace(ROBUST, **changes))


def honest(head, client, *, scale=1.0, **changes):
    """Scalars that everybody shares but for their size."""
    g = [scale * sign * (1.0 + seed / 8) for seed, sign in zip(SEEDS, (1, -1, 1, 1, -1, -1, 1, -1), strict=True)]
    return update(head, client, k=SEEDS, g=g, **changes)


def flipped(head, client):
    return honest(head, client, scale=-1.0)


def rounds(head, count, fifth):
    """Close so many rounds of four honest clients and one that does as it is told; gives what the last one produced."""
    for _ in range(count):
        head, folded = fold(head, [*(honest(head, name) for name in HONEST), fifth(head, "eve")], 0.0)
        if not folded.commits:
            head, closed = close(head, head.version, head.round.attempt, 0.0)
            folded = replace(closed, receipts=folded.receipts)
    return head, folded


@given(st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=50))
def test_a_median_is_that_of_a_list_up_to_a_thirty_second(values):
    exact = sorted(values)[(len(values) - 1) // 2]
    found = median(histogram(np.array(values, np.int64)))
    assert exact <= found <= exact + exact // 32


@given(st.integers(0, 2**53 - 2))
def test_buckets_grow_with_their_values(value):
    below, above = buckets(np.array([value, value + 1], np.int64))
    assert 0 <= below <= above <= min(below + 1, BUCKETS - 1)


def test_the_median_of_nothing_is_zero():
    assert median(histogram(np.zeros(0, np.int64))) == 0


@given(st.lists(st.integers(-(2**31), 2**31), max_size=200))
def test_a_norm_is_exact(values):
    assert length(np.array(values, np.int64)) == math.isqrt(sum(value * value for value in values))


def test_a_norm_is_exact_where_all_pairs_have_one_seed():
    assert length(np.array([-(2**47)])) == 2**47


def test_the_first_round_only_measures():
    head, folded = rounds(robust_ledger(), 1, honest)
    (commit,) = folded.commits
    assert (commit.kind, head.version, commit.bounds) == ("measured", 1, None)
    assert not head.coefficients.any()
    assert head.robust.bounds is not None
    assert rounds(head, 1, honest)[1].commits[0].kind == "round"


def test_without_the_section_folding_is_as_before():
    head, folded = rounds(ledger(cohort=5), 2, honest)
    assert head.robust is None
    assert folded.commits[0].kind == "round"
    assert all(member.evidence is None for member in folded.commits[0].members)


def test_a_scalar_counts_for_at_most_so_many_median_deviations():
    head, _ = rounds(robust_ledger(norm=100.0), 1, honest)
    bound = head.robust.bounds.scalar
    assert bound == round(4.0 * median(histogram(np.array([round(65536 * (1 + seed / 8)) for seed in SEEDS] * 5))))
    after, _ = fold(head, [update(head, "eve", k=(3, 3, 4), g=(30000.0, -0.5, 1.0))], 0.0)
    assert after.pending.numerators[3] == 256 * (bound - 32768)
    assert after.pending.numerators[4] == 256 * 65536


def test_an_update_that_is_too_long_is_scaled_down_as_a_whole():
    head, _ = rounds(robust_ledger(clip=100.0), 1, honest)
    after, _ = fold(head, [honest(head, "eve", scale=3.0)], 0.0)
    sums = after.pending.numerators // 256
    exact = [Fraction(3 * 65536) * (1 + Fraction(seed, 8)) for seed in SEEDS]
    norm = math.isqrt(int(sum(value * value for value in exact)))
    assert length(sums) == pytest.approx(head.robust.bounds.norm, abs=3)
    for found, value in zip(np.abs(sums[list(SEEDS)]).tolist(), exact, strict=True):
        assert abs(found - value * head.robust.bounds.norm / norm) <= Fraction(1, 2) + Fraction(1, 1000)


def test_a_client_weighs_at_most_so_many_times_the_median():
    head, _ = rounds(robust_ledger(), 1, lambda head, name: honest(head, name, n=4000))
    assert decide(head, honest(head, "eve", n=4000)).omega == 3 * 256
    assert decide(head, honest(head, "ann", n=2)).omega == 2 * 256


def test_statistics_are_those_of_the_opening_whatever_arrives():
    head, _ = rounds(robust_ledger(), 2, honest)
    after, _ = fold(head, [honest(head, "eve", scale=50.0), flipped(head, "ann")], 0.0)
    assert after.robust is head.robust


def test_a_client_whose_signs_are_flipped_is_quarantined_before_anything_counts():
    head, folded = rounds(robust_ledger(), 1, flipped)
    assert (folded.commits[0].kind, folded.commits[0].quarantined) == ("measured", ("eve",))
    assert dict(head.robust.quarantined) == {"eve": 1}
    refusal = decide(head, flipped(head, "eve"))
    assert isinstance(refusal, Refusal)
    assert (refusal.outcome, refusal.final) == ("quarantined", False)
    assert isinstance(decide(head, honest(head, "ann")), Fold)


@pytest.mark.parametrize("scale", [100.0, 3000.0])
def test_a_client_whose_scalars_are_cut_is_quarantined(scale):
    head, _ = rounds(robust_ledger(), 1, lambda head, name: honest(head, name, scale=scale))
    assert set(head.robust.quarantined) == {"eve"}


def test_honest_clients_are_never_suspected_where_they_agree():
    head, _ = rounds(robust_ledger(), 6, honest)
    assert not head.robust.suspicion
    assert not head.robust.quarantined


def test_suspicion_adds_up_over_rounds_and_never_falls_below_zero():
    def half(head, name):
        if head.version < 4:
            return honest(head, name)
        return update(head, name, k=SEEDS, g=[1.0] * 8)  # agrees at as many seeds as not

    head, _ = rounds(robust_ledger(quarantine=2.5), 4, half)
    assert not head.robust.suspicion
    seen = []
    for _ in range(3):
        head, _ = rounds(head, 1, half)
        seen.append(head.robust.suspicion.get("eve", 0) / PAIR)
    assert seen == [1.0, 2.0, 0]
    assert dict(head.robust.quarantined) == {"eve": 7}


def test_below_the_threshold_nobody_is_quarantined():
    head, _ = rounds(robust_ledger(quarantine=1e9), 6, flipped)
    assert not head.robust.quarantined
    assert head.robust.suspicion["eve"] == 6 * (8 + 1) * PAIR


def test_an_operator_lifts_a_quarantine():
    head, _ = rounds(robust_ledger(), 1, flipped)
    lifted, _ = readmit(head, "eve", 0.0)
    assert isinstance(decide(lifted, honest(lifted, "eve")), Fold)
    assert lifted.revision == head.revision + 1
    with pytest.raises(LedgerError, match="eve is not quarantined"):
        readmit(lifted, "eve", 0.0)


def test_a_new_policy_is_robust_from_the_next_round_on():
    head, _ = rounds(ledger(cohort=5), 1, honest)
    head, _ = set_policy(head, policy(cohort=5, robust=ROBUST), 0.0)
    assert head.robust is None
    kinds = []
    for _ in range(3):
        head, folded = rounds(head, 1, honest)
        kinds.append(folded.commits[0].kind)
    assert kinds == ["round", "measured", "round"]
    head, _ = set_policy(head, policy(cohort=5), 0.0)
    assert head.robust is not None
    assert rounds(head, 1, honest)[0].robust is None


def test_less_than_half_of_hostile_scalars_move_a_bound_by_what_honest_ones_spread():
    def huge(head, name):
        return update(head, name, k=SEEDS, g=[32768.0] * 8)

    head, _ = rounds(robust_ledger(), 1, huge)
    assert head.robust.bounds.scalar <= 4.0 * 65536 * 2 * 33 / 32


def closed(head, *updates):
    """The members of a round that these updates make."""
    head, _ = fold(head, updates, 0.0)
    _, folded = close(head, head.version, head.round.attempt, 0.0)
    return {(member.client, member.base): member.evidence for member in folded.commits[0].members}


def test_agreement_is_a_share_of_sizes_in_integers():
    head = ledger(cohort=9, robust=replace(ROBUST, clip=100.0, norm=100.0))
    found = closed(
        head,
        update(head, "ann", k=(1, 2, 3, 4), g=(1.0, -2.0, 0.5, 9.0)),  # nobody else has seed 4
        update(head, "bob", k=(1, 2, 3), g=(3.0, 1.0, 1.0)),
        update(head, "cec", k=(1, 2), g=(-1.0, 1.0)),
    )
    assert (found["ann", 0].agreement, found["ann", 0].compared) == (3 * round(-PAIR / 7), 3)
    assert (found["cec", 0].agreement, found["cec", 0].compared) == (-2 * PAIR, 2)


def test_what_two_clients_say_that_cancels_out_is_not_compared():
    head = ledger(cohort=9, robust=ROBUST)
    found = closed(head, update(head, "ann"), update(head, "bob", g=(2.0,)), update(head, "cec", g=(-2.0,)))
    assert (found["ann", 0].agreement, found["ann", 0].compared) == (0, 0)


def test_a_client_does_not_agree_with_itself():
    head, _ = rounds(ledger(cohort=5, max_staleness=2, robust=ROBUST), 1, honest)
    both = [update(head, "eve", base=base, k=SEEDS, g=[1.0] * 8) for base in (0, 1)]
    head = replace(head, inbox={**head.inbox, 0: {}})
    alone = closed(head, *both)
    assert [(each.agreement, each.compared) for each in alone.values()] == [(0, 0), (0, 0)]
    watched = closed(head, *both, update(head, "ann", k=SEEDS, g=[-1.0] * 8))
    assert [(each.agreement, each.compared) for each in watched.values()] == [(-8 * PAIR, 8)] * 3


def test_hostile_clients_that_agree_with_each_other_do_not_make_the_honest_look_hostile():
    """Three of twelve send the same, thousands of times as large; what is beyond the bounds says nothing about others."""
    names = [f"c{i}" for i in range(9)]
    head = ledger(cohort=12, robust=ROBUST)
    updates = [honest(head, name) for name in names]
    updates += [update(head, f"h{i}", k=SEEDS, g=[30000.0] * 8, n=4000) for i in range(3)]
    head, folded = fold(head, updates, 0.0)
    assert folded.commits[0].quarantined == ("h0", "h1", "h2")
    assert not head.robust.suspicion


def test_the_pairs_of_members_are_kept_until_the_round_closes_and_only_where_folding_is_robust():
    head = ledger(cohort=2, robust=ROBUST)
    sent = update(head, "ann", k=(1, 1), g=(2.0, 3.0))
    after, _ = fold(head, [sent], 0.0)
    assert after.pending.pairs == {("ann", 0): (sent.k, sent.g)}
    assert fold(after, [update(head, "bob")], 0.0)[0].pending.pairs == {}
    assert fold(ledger(cohort=2), [sent], 0.0)[0].pending.pairs == {}


signed = st.integers(-40, 40).map(lambda value: value / 8)
small = st.lists(
    st.tuples(st.sampled_from("abcd"), st.lists(st.tuples(st.integers(0, 5), signed), max_size=8), st.integers(1, 9)),
    min_size=1,
    max_size=4,
    unique_by=lambda message: message[0],
)


@settings(max_examples=100)
@given(small)
def test_agreement_is_what_fractions_say(described):
    head = ledger(cohort=9, robust=ROBUST)
    updates = [update(head, c, k=[k for k, _ in p], g=[g for _, g in p], n=n) for c, p, n in described]
    members = judged(fold(head, updates, 0.0)[0].pending, Bounds(scalar=1 << 50, norm=1 << 50, examples=4096))
    found = {member.client: member.evidence for member in members}
    for client, pairs, _ in described:
        agreeing, sizes, compared = Fraction(0), Fraction(0), 0
        for seed in {k for k, _ in pairs}:
            others = sum(n * Fraction(g) for c, p, n in described if c != client for k, g in p if k == seed)
            own = sum(Fraction(g) for k, g in pairs if k == seed)
            if others:
                agreeing, sizes = agreeing + own * (1 if others > 0 else -1), sizes + abs(own)
                compared += sum(k == seed for k, _ in pairs)
        share = math.floor(PAIR * agreeing / sizes + Fraction(1, 2)) if sizes else 0
        assert (found[client].agreement, found[client].compared) == (share * compared, compared)


numbers = st.floats(-40000.0, 40000.0, width=16) | st.floats(-3.0, 3.0, width=16)
messages = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.lists(st.tuples(st.integers(0, K - 1), numbers), max_size=12), st.integers(1, 5000)
    ),
    min_size=4,
    max_size=8,
    unique_by=lambda message: message[0],
)


@settings(max_examples=60)
@given(messages, messages, st.data())
def test_any_order_duplication_and_batching_gives_the_same_ledger(first, second, data):
    def play(head, updates, *, shuffled):
        commits = ()
        if shuffled:
            updates = data.draw(st.permutations([*updates, *data.draw(st.lists(st.sampled_from(updates), max_size=4))]))
        while updates:
            size = data.draw(st.integers(1, len(updates))) if shuffled else len(updates)
            batch, updates = updates[:size], updates[size:]
            head, folded = fold(head, batch, 0.0)
            commits += folded.commits
        head, folded = close(head, head.version, head.round.attempt, 0.0)
        return head, commits + folded.commits

    results = []
    for shuffled in (False, True):
        head, commits = ledger(cohort=100, robust=ROBUST), ()
        for described in (first, second, first):
            updates = [update(head, c, k=[k for k, _ in p], g=[g for _, g in p], n=n) for c, p, n in described]
            head, made = play(head, updates, shuffled=shuffled)
            commits += made
        results.append(ledger_bytes(replace(head, revision=0), commits))
    assert results[0] == results[1]
