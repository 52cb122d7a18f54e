"""Work beside the loop: one piece at a time, told of when it fails, abandoned where it looks, waited for in the end."""

import queue
import threading

import pytest

from fedkseed.background import Background

PATIENCE_SECONDS = 60


@pytest.fixture
def said():
    return queue.SimpleQueue()


@pytest.fixture
def background(said):
    made = Background("work", said.put)
    yield made
    made.end()


def test_what_goes_wrong_is_told(background, said):
    def fail(cancellation):
        raise ValueError("broken")

    background.begin(fail)
    assert str(said.get(timeout=PATIENCE_SECONDS)) == "broken"


def test_what_is_abandoned_ends_before_the_next_begins(background, said):
    begun, abandoned = threading.Event(), threading.Event()

    def old(cancellation):
        begun.set()
        assert abandoned.wait(PATIENCE_SECONDS)
        said.put("old")
        cancellation.check()
        said.put("old, to its end")

    background.begin(old)
    assert begun.wait(PATIENCE_SECONDS)
    background.abandon()
    background.begin(lambda cancellation: said.put("new"))
    abandoned.set()
    assert [said.get(timeout=PATIENCE_SECONDS) for _ in range(2)] == ["old", "new"]


def test_what_was_abandoned_before_its_turn_never_begins(background, said):
    begun, go_on = threading.Event(), threading.Event()

    def first(cancellation):
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)

    background.begin(first)
    assert begun.wait(PATIENCE_SECONDS)
    background.begin(lambda cancellation: said.put("second"))
    background.abandon()
    go_on.set()
    background.end()
    assert said.empty()


def test_the_end_waits_for_what_is_under_way(background):
    begun, ended = threading.Event(), threading.Event()

    def work(cancellation):
        begun.set()
        try:
            while True:
                cancellation.wait(PATIENCE_SECONDS)
        finally:
            ended.set()

    background.begin(work)
    assert begun.wait(PATIENCE_SECONDS)
    background.end()
    assert ended.is_set()
