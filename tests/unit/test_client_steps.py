"""The time of local steps is split into forward passes and the writing of weights."""

import pytest

from fedkseed_client.steps import timed


@pytest.mark.parametrize("directions", [1, 3])
def test_one_loss_more_than_there_are_directions_ends_a_batch(directions):
    now, told = [0.0], []

    def loss(batch):
        now[0] += 10.0
        return float(batch[0])

    measured = timed(loss, lambda *seconds: told.append(seconds), directions=directions, clock=lambda: now[0])
    for step in range(2):
        for _ in range(directions + 1):
            now[0] += 1.0 + step  # weights are written
            assert measured([step]) == step
    passes = directions + 1.0
    assert told == [(10 * passes, passes), (10 * passes, 2 * passes)]


def test_a_batch_that_is_left_in_the_middle_is_not_told():
    told = []
    timed(lambda _: 0.0, lambda *seconds: told.append(seconds))([])
    assert told == []
