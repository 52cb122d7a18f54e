"""The staleness laws as tables."""

import pytest

from fedkseed.federation import Rounds
from fedkseed.ledger.staleness import table


def test_a_synchronous_policy_knows_only_staleness_zero():
    assert table(Rounds(max_staleness=0)) == (65536,)


def test_the_constant_law_never_discounts():
    assert table(Rounds(max_staleness=3)) == (65536,) * 4


def test_the_polynomial_law_falls_with_the_exponent():
    rounds = Rounds(max_staleness=3, staleness_law="polynomial", staleness_exponent=0.5)
    assert table(rounds) == (65536, 46341, 37837, 32768)


def test_the_hinge_law_is_flat_up_to_its_bound():
    rounds = Rounds(max_staleness=4, staleness_law="hinge", staleness_exponent=1.0, staleness_bound=2)
    assert table(rounds) == (65536, 65536, 65536, 32768, 21845)


@pytest.mark.parametrize("law", ["constant", "polynomial", "hinge"])
def test_an_update_that_is_not_late_counts_in_full_and_no_law_ever_rises(law):
    discounts = table(Rounds(max_staleness=40, staleness_law=law))
    assert discounts[0] == 65536
    assert list(discounts) == sorted(discounts, reverse=True)
