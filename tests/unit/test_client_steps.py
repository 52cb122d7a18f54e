"""The time of local steps is split into forward passes and the writing of weights."""

from fedkseed_client.steps import timed


def test_each_second_loss_ends_a_step():
    now, told = [0.0], []

    def loss(batch):
        now[0] += 10.0
        return float(batch[0])

    measured = timed(loss, lambda forward, writing: told.append((forward, writing)), lambda: now[0])
    for step in range(2):
        for _ in range(2):
            now[0] += 1.0 + step  # weights are written
            assert measured([step]) == step
    assert told == [(20.0, 2.0), (20.0, 4.0)]


def test_a_step_that_is_left_in_the_middle_is_not_told():
    told = []
    timed(lambda _: 0.0, lambda *seconds: told.append(seconds))([])
    assert told == []
