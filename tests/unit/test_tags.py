"""Tags of deliveries over several channels, and what is acknowledged for them."""

from hypothesis import given
from hypothesis import strategies as st

from fedkseed.transport.tags import Tags


def delivered(count, tags=None) -> Tags:
    tags = tags or Tags()
    for number in range(1, count + 1):
        tags.deliver(number)
    return tags


def test_tags_go_on_over_channels():
    tags = delivered(3)
    tags.renew()
    assert [tags.deliver(1), tags.deliver(2)] == [4, 5]


def test_a_run_without_a_gap_is_acknowledged_at_once():
    tags = delivered(5)
    assert tags.acknowledge([3, 1, 2]) == [(3, True)]
    assert tags.acknowledge([4, 5]) == [(5, True)]


def test_what_comes_after_a_gap_is_acknowledged_singly():
    tags = delivered(5)
    assert tags.acknowledge([2, 4]) == [(2, False), (4, False)]
    assert tags.acknowledge([1, 5]) == [(1, True), (5, False)]
    assert tags.acknowledge([3]) == [(3, True)]


def test_tags_of_an_earlier_channel_and_unknown_ones_mean_nothing():
    tags = delivered(2)
    tags.renew()
    tags.deliver(1)
    assert tags.acknowledge([1, 2, 0, -1, 99]) == []
    assert tags.acknowledge([3, 3]) == [(1, True)]
    assert tags.acknowledge([3]) == []


@given(st.lists(st.integers(1, 12)), st.data())
def test_a_broker_forgets_exactly_what_was_acknowledged(batches, data):
    tags, held = delivered(12), set(range(1, 13))
    asked: set[int] = set()
    while batches:
        size = data.draw(st.integers(1, 4))
        batch, batches = batches[:size], batches[size:]
        for number, multiple in tags.acknowledge(batch):
            assert number in held  # a broker closes the channel over anything else
            held -= set(range(1, number + 1)) if multiple else {number}
        asked |= set(batch)
    assert held == set(range(1, 13)) - asked
