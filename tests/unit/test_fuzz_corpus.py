"""Inputs that reach something that no other does, as the fuzzer found them: every target holds for each of them."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, feed, seeds

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
KEPT = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


@pytest.mark.parametrize("number", range(len(TARGETS)), ids=[target.__name__ for target in TARGETS])
def test_every_target_holds_for_what_was_found(number):
    inputs = [data for data in (*seeds().values(), *KEPT.values()) if data and data[0] % len(TARGETS) == number]
    assert inputs
    for data in inputs:
        feed(data)


def test_the_corpus_is_small():
    assert sum(map(len, KEPT.values())) < 200_000
