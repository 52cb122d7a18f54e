"""Which publications of a channel are answered, whatever the order of the answers."""

from hypothesis import given
from hypothesis import strategies as st

from fedkseed.transport.confirms import Confirms


def published(*letters) -> Confirms:
    confirms = Confirms()
    for token, count in enumerate(letters):
        confirms.publish(token, count)
    return confirms


def answer(confirms, number, *, multiple=False, taken=True):
    return list(confirms.answer(number, multiple=multiple, taken=taken))


def test_a_publication_is_done_once_each_letter_is_answered():
    confirms = published(2, 1)
    assert answer(confirms, 2) == []
    assert answer(confirms, 3) == [(1, True)]
    assert answer(confirms, 1) == [(0, True)]


def test_an_answer_for_all_up_to_a_number_leaves_the_rest_open():
    confirms = published(1, 1, 2)
    assert answer(confirms, 3, multiple=True) == [(0, True), (1, True)]
    assert confirms.unanswered() == (2,)
    assert answer(confirms, 4, multiple=True) == [(2, True)]


def test_one_letter_that_was_not_taken_spoils_its_publication():
    confirms = published(3, 1)
    assert answer(confirms, 2, taken=False) == []
    assert answer(confirms, 4, multiple=True) == [(0, False), (1, True)]


def test_a_second_answer_and_an_unknown_number_mean_nothing():
    confirms = published(1)
    assert answer(confirms, 1) == [(0, True)]
    assert answer(confirms, 1, multiple=True, taken=False) == []
    assert answer(confirms, 7) == []


def test_what_is_unanswered_is_told_in_the_order_of_publishing():
    confirms = published(1, 2, 1, 3)
    answer(confirms, 4)
    answer(confirms, 2)
    assert confirms.unanswered() == (0, 1, 3)


@given(st.lists(st.integers(1, 4), max_size=6), st.data())
def test_every_token_is_done_exactly_once_in_any_order_of_answers(letters, data):
    confirms, done = published(*letters), []
    total = sum(letters)
    spoilt, numbers = set(), data.draw(st.permutations(range(1, total + 1)))
    answered: set[int] = set()
    for number in [*numbers, *((total,) if total else ())]:
        multiple = data.draw(st.booleans()) or number in answered
        taken = data.draw(st.booleans())
        fresh = {each for each in (range(1, number + 1) if multiple else (number,)) if each not in answered}
        answered |= fresh
        spoilt |= fresh if not taken else set()
        done += answer(confirms, number, multiple=multiple, taken=taken)
    owner = [token for token, count in enumerate(letters) for _ in range(count)]
    bad = {owner[number - 1] for number in spoilt}
    assert sorted(done) == [(token, token not in bad) for token in range(len(letters))]
    assert confirms.unanswered() == ()
