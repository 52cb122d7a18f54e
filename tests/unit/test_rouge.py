"""ROUGE-L: hand-counted cases, and texts that the package itself refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed.rouge import rouge_l


def test_the_longest_common_subsequence_is_counted():
    assert rouge_l(["the cat sat down"], ["the old cat sat"]) == pytest.approx(3 / 4)  # 3 of 4 words both ways
    assert rouge_l(["a b"], ["a b c d"]) == pytest.approx(2 / 3)  # precision 1, recall 1/2


def test_order_matters_and_repeated_words_count_once():
    assert rouge_l(["b a"], ["a b"]) == pytest.approx(1 / 2)
    assert rouge_l(["a a a a"], ["a b"]) == pytest.approx(2 / 3)


def test_scores_are_averaged_over_the_pairs():
    assert rouge_l(["a b", "x y"], ["a b", "a b"]) == pytest.approx(1 / 2)


@pytest.mark.parametrize("empty", ["", " ", ".", " . ..", "\n"])
def test_a_text_without_words_scores_nothing(empty):
    assert rouge_l([empty], ["a b"]) == rouge_l(["a b"], [empty]) == rouge_l([empty], [empty]) == 0.0


def test_long_texts_are_scored():
    words = [f"w{i}" for i in range(900)]
    assert rouge_l([" ".join(words[:450])], [" ".join(words)]) == pytest.approx(2 / 3)


def test_nothing_to_score_and_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="no texts"):
        rouge_l([], [])
    with pytest.raises(ValueError, match="zip"):
        rouge_l(["a"], ["a", "b"])


@given(st.text("ab. ?\n", max_size=20), st.text("ab. ?\n", max_size=20))
def test_any_text_gets_a_score_between_0_and_1_and_itself_the_highest(one, other):
    assert 0.0 <= rouge_l([one], [other]) <= 1.0
    assert rouge_l([one], [one]) in (0.0, pytest.approx(1.0))
