"""Where tokens of a batch stand, and which of them see one another."""

import torch

from fedkseed.arrangement import in_one_row, padded
from fedkseed.objectives import Encoded

BATCH = [
    Encoded(tokens=(7, 8, 1, 2), reads=(1, 3), targets=(0, 0)),
    Encoded(tokens=(7, 8), reads=(0, 1), targets=(0, 0)),
    Encoded(tokens=(7, 8, 3), reads=(2,), targets=(0,)),
]


def read(arranged):
    """The tokens whose logits are read."""
    return arranged.tokens[arranged.rows, arranged.columns].tolist()


def test_an_example_a_row_is_padded_on_its_right():
    arranged = padded(BATCH)
    assert arranged.tokens.tolist() == [[7, 8, 1, 2], [7, 8, 0, 0], [7, 8, 3, 0]]
    assert read(arranged) == [8, 2, 7, 8, 3]


def test_in_one_row_the_common_beginning_stands_once():
    arranged = in_one_row(BATCH)
    assert arranged.tokens.tolist() == [[7, 8, 1, 2, 3]]
    assert arranged.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert read(arranged) == [8, 2, 7, 8, 3]


def test_a_token_sees_the_common_beginning_and_what_comes_before_it_in_its_own_example():
    scores = in_one_row(BATCH).scores(torch.device("cpu"), torch.float32)
    assert scores.shape == (1, 1, 5, 5)
    assert set(scores.unique().tolist()) == {0.0, torch.finfo(torch.float32).min}
    assert (scores == 0).int().tolist()[0][0] == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_examples_that_have_nothing_in_common_stand_behind_one_another():
    arranged = in_one_row([Encoded(tokens=(1, 2), reads=(1,), targets=(0,)), Encoded(tokens=(2, 2), reads=(0,), targets=(0,))])
    assert arranged.tokens.tolist() == [[1, 2, 2, 2]]
    assert arranged.positions.tolist() == [[0, 1, 0, 1]]
    assert read(arranged) == [2, 2]


def test_examples_that_are_the_same_stand_once():
    arranged = in_one_row([Encoded(tokens=(1, 2, 3), reads=(2,), targets=(0,))] * 4)
    assert arranged.tokens.tolist() == [[1, 2, 3]]
    assert read(arranged) == [3, 3, 3, 3]
