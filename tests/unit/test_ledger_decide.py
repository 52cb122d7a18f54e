"""What becomes of an update: every refusal, their order, and how much an accepted one weighs."""

from dataclasses import replace

import numpy as np
import pytest

from fedkseed.ledger.decide import Duplicate, Fold, Refusal, decide
from fedkseed.ledger.fold import close, fold
from fedkseed.ledger.invitation import invited, nonce
from fedkseed.ledger.operate import finish, roll_back, set_policy
from fedkseed.ledger.tally import tallies
from tests.ledgers import K, at_version, ledger, policy, update

EVERY_FAULT = {"federation": "another", "base": 1, "state": bytes(16), "n": 0}


def refused(head, message):
    decision = decide(head, message)
    assert isinstance(decision, Refusal), decision
    return decision.outcome, decision.reason


def test_an_update_on_the_head_is_folded():
    decision = decide(ledger(), update(ledger(), k=(5, 2, 5), g=(1.0, -0.5, 0.25)))
    assert isinstance(decision, Fold)
    assert (decision.outcome, decision.staleness, decision.omega) == ("folded", 0, 256)
    assert decision.tally.seeds.tolist() == [2, 5]
    assert decision.tally.sums.tolist() == [-32768, 81920]
    assert decision.tally.importance.tolist() == [32768, 81920]
    assert decision.tally.counts.tolist() == [1, 2]


def test_an_update_of_another_federation_is_refused():
    assert refused(ledger(), update(ledger(), federation="large"))[0] == "mismatch"


def test_an_update_that_was_decided_is_a_duplicate():
    head, folded = fold(ledger(), [update(ledger())], 0.0)
    assert decide(head, update(head)) == Duplicate(receipt=folded.receipts[0])


def test_an_update_that_is_too_old_is_stale():
    head, _ = at_version(ledger(max_staleness=2), 3)
    assert refused(head, update(head, base=0)) == ("stale", "staleness 3 is above 2")
    assert isinstance(decide(head, update(head, base=1)), Fold)


def test_an_update_from_before_a_rollback_is_stale_with_that_reason():
    head, _ = at_version(ledger(max_staleness=5), 2)
    head, _ = roll_back(head, np.zeros(K, np.int64), 0, 0.0)
    outcome, reason = refused(head, update(head, base=2))
    assert outcome == "stale"
    assert "rollback" in reason
    assert isinstance(decide(head, update(head)), Fold)


def test_an_update_on_a_version_to_come_is_ahead():
    assert refused(ledger(), update(ledger(), base=1)) == ("ahead", "the head is version 0")


def test_an_update_on_another_state_is_a_mismatch():
    assert refused(ledger(), update(ledger(), state=bytes(16)))[0] == "mismatch"


def test_an_update_after_training_is_over_is_stale():
    head, _ = finish(ledger(), 0.0)
    assert refused(head, update(head)) == ("stale", "training is over")


def test_a_forgotten_version_stays_refused_when_a_policy_allows_more_staleness():
    head, _ = at_version(ledger(max_staleness=0), 7)
    head, _ = set_policy(head, policy(max_staleness=100), 0.0)
    assert refused(head, update(head, base=1)) == ("stale", "version 1 is no longer remembered")
    assert isinstance(decide(head, update(head, "bob", base=3)), Fold)


def someone(head, *, is_invited, attempt=0):
    key = nonce(head.digest, attempt)
    return next(name for name in map("client-{}".format, range(1000)) if invited(key, name, 0.5) == is_invited)


def test_an_uninvited_client_is_refused():
    head = ledger(participation=0.5)
    assert refused(head, update(head, someone(head, is_invited=False)))[0] == "uninvited"
    assert isinstance(decide(head, update(head, someone(head, is_invited=True))), Fold)


def test_an_invitation_to_any_attempt_of_a_version_counts():
    head = ledger(participation=0.5, minimum=2, cohort=2)
    first = someone(head, is_invited=True)
    later = next(
        name
        for name in map("client-{}".format, range(1000))
        if invited(nonce(head.digest, 1), name, 0.5) and not invited(nonce(head.digest, 0), name, 0.5)
    )
    head, _ = fold(head, [update(head, later)], 0.0)
    head, _ = close(head, 0, 0, 10.0)
    assert head.round.attempt == 1
    assert isinstance(decide(head, update(head, first)), Fold)
    assert isinstance(decide(head, update(head, later)), Fold)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"n": 0}, "n is below 1"),
        ({"n": -5}, "n is below 1"),
        ({"k": bytes(4)}, "2 seed indices with 1 scalars"),
        ({"k": bytes(3), "g": bytes(3)}, "1.5 seed indices"),
        ({"k": bytes(8), "g": bytes(8)}, "4 pairs, more than 3 steps"),
        ({"k": np.array([K], "<u2").tobytes()}, "a seed index is 128 or more"),
        ({"g": np.array([np.nan], "<f2").tobytes()}, "not finite"),
        ({"g": np.array([-np.inf], "<f2").tobytes()}, "not finite"),
        ({"g": np.array([32800], "<f2").tobytes()}, "above 32768"),
    ],
)
def test_values_out_of_bounds_are_invalid(changes, fault):
    outcome, reason = refused(ledger(steps=3), replace(update(ledger()), **changes))
    assert outcome == "invalid"
    assert fault in reason


def test_the_largest_scalar_is_valid():
    assert isinstance(decide(ledger(), update(ledger(), g=(-32768.0,))), Fold)


def test_an_update_without_any_usable_scalar_is_valid():
    assert isinstance(decide(ledger(), update(ledger(), k=(), g=(), skipped=200)), Fold)


def test_the_steps_of_a_version_are_those_it_was_opened_with():
    head, _ = at_version(ledger(steps=3, max_staleness=1), 1)
    head, _ = set_policy(head, policy(steps=1, max_staleness=1), 0.0)
    assert isinstance(decide(head, update(head, k=(1, 2, 3), g=(1, 2, 3))), Fold)
    head, _ = at_version(head, 2)
    assert isinstance(decide(head, update(head, "ann", base=1, k=(1, 2, 3), g=(1, 2, 3))), Fold)
    assert refused(head, update(head, k=(1, 2), g=(1, 2)))[0] == "invalid"


def test_a_contribution_of_two_to_the_58_to_one_seed_is_invalid():
    head = ledger()
    full = update(head, k=[9] * 128, g=[32768.0] * 128, n=4096)  # 128 * 2^15 * 2^16 * 256 * 4096 = 2^58
    assert refused(head, full) == ("invalid", "the contribution to one seed is 2^58 or more")
    assert refused(head, replace(full, g=np.full(128, -32768, "<f2").tobytes()))[0] == "invalid"
    assert isinstance(decide(head, update(head, k=[9] * 127, g=[32768.0] * 127, n=4096)), Fold)
    assert isinstance(decide(head, update(head, k=[9] * 64 + [8] * 64, g=[32768.0] * 128, n=4096)), Fold)


def test_a_decision_does_not_depend_on_whether_pairs_were_summed():
    head = ledger()
    for signs in ([1] * 128, [1, -1] * 64):
        contribution = update(head, k=[9] * 128, g=32768.0 * np.array(signs), n=4096)
        apart = decide(head, contribution, next(tallies((contribution,), summed=False)))
        assert apart == decide(head, contribution)


def test_the_largest_conceivable_update_is_judged_without_overflow():
    head = ledger(steps=65536)
    assert refused(head, update(head, k=[9] * 65536, g=[32768.0] * 65536, n=2**62))[0] == "invalid"


@pytest.mark.parametrize(("n", "omega"), [(1, 256), (3, 768), (4096, 1 << 20), (4097, 1 << 20), (2**62, 1 << 20)])
def test_weight_grows_with_the_examples_up_to_4096(n, omega):
    assert decide(ledger(), update(ledger(), n=n)).omega == omega


def test_a_late_update_is_discounted_by_the_law():
    head, _ = at_version(ledger(max_staleness=2, staleness_law="polynomial"), 2)
    decisions = [decide(head, update(head, base=base, n=3)) for base in (2, 1, 0)]
    assert [(d.outcome, d.staleness, d.omega) for d in decisions] == [
        ("folded", 0, 768),
        ("discounted", 1, round(768 * 46341 / 65536)),
        ("discounted", 2, round(768 * 37837 / 65536)),
    ]


def test_a_late_update_is_folded_in_full_where_the_law_is_flat():
    head, _ = at_version(ledger(max_staleness=2), 1)
    assert decide(head, update(head, base=0)).outcome == "folded"


def test_nothing_weighs_less_than_one():
    head, _ = at_version(ledger(max_staleness=1, staleness_law="polynomial", staleness_exponent=1000.0), 1)
    assert decide(head, update(head, base=0)).omega == 1


def test_checks_are_made_in_the_order_of_the_page():
    head, _ = at_version(ledger(max_staleness=5, participation=0.5, cohort=1, steps=3), 0)
    nobody = someone(head, is_invited=False)
    head = replace(head, floor=0, version=3, discounts=(65536,) * 2)
    message = update(head, nobody, base=9, federation="another", state=bytes(16), n=0)
    outcomes = [refused(head, message)[0]]
    for repaired in ({"federation": "little"}, {"base": 0}):
        message = replace(message, **repaired)
        outcomes.append(refused(head, message)[0])
    head = replace(head, version=0)
    outcomes.append(refused(head, message)[0])
    message = replace(message, state=head.states[0][:16])
    outcomes.append(refused(head, message)[0])
    message = replace(message, client=someone(head, is_invited=True))
    outcomes.append(refused(head, message)[0])
    assert outcomes == ["mismatch", "ahead", "stale", "mismatch", "uninvited", "invalid"]
    assert isinstance(decide(head, replace(message, n=1)), Fold)


def test_an_identity_in_the_inbox_comes_before_everything_but_the_federation():
    head, folded = fold(ledger(cohort=9), [update(ledger())], 0.0)
    assert decide(head, update(head, state=bytes(16), n=0)) == Duplicate(receipt=folded.receipts[0])
    head, _ = finish(head, 0.0)
    assert isinstance(decide(head, update(head, state=bytes(16), n=0)), Duplicate)
