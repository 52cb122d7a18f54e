"""What updates say of their training, as sums."""

from dataclasses import replace
from math import isnan

from hypothesis import given
from hypothesis import strategies as st

from fedkseed.ledger.reports import MOST, Report, RoundReport
from tests.ledgers import ledger, update

losses = st.floats(width=32)


def report(loss: float) -> Report:
    return Report.of(replace(update(ledger()), loss=loss), 100)


def summed(values) -> RoundReport:
    return sum((RoundReport.of([report(loss)]) for loss in values), RoundReport())


@given(st.lists(losses, max_size=8).flatmap(lambda values: st.tuples(st.just(values), st.permutations(values))))
def test_the_sums_of_a_round_do_not_depend_on_order(both):
    assert summed(both[0]) == summed(both[1])


@given(st.lists(losses, max_size=50))
def test_no_loss_makes_a_sum_that_does_not_fit_64_bits_with_millions_of_updates(values):
    assert abs(summed(values).loss) <= len(values) * MOST * 65536
    assert (1 << 23) * MOST * 65536 < 1 << 63


def test_a_loss_that_is_no_number_is_left_out_of_the_mean():
    assert isnan(report(float("inf")).loss)
    sums = summed([1.0, float("nan"), 0.5, float("inf")])
    assert (sums.updates, sums.size, sums.losses, sums.mean_loss, sums.mean_size) == (4, 400, 2, 0.75, 100.0)


def test_without_updates_there_are_no_means():
    assert (RoundReport().mean_loss, RoundReport().mean_size) == (None, None)
