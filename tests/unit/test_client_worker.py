"""Training in the background: it reports, it fails loudly, it can be abandoned, it keeps hours."""

import queue
import threading

import pytest

from fedkseed_client.events import Trained
from fedkseed_client.worker import Worker, within

TRAINED = Trained(base=3, k=b"", g=b"", loss=0.5, seconds=1.0, skipped=0)
PATIENCE_SECONDS = 60


def worker(measure, **options):
    said = queue.SimpleQueue()
    return Worker(measure=measure, report=said.put, fail=said.put, **options), said


def test_what_was_measured_is_reported_from_another_thread():
    names = []

    def measure(assignment, check):
        check()
        names.append(threading.current_thread().name)
        return TRAINED

    trainer, said = worker(measure)
    trainer.begin("assignment")
    assert said.get(timeout=PATIENCE_SECONDS) == TRAINED
    trainer.end()
    assert names == ["training_0"]


def test_what_goes_wrong_is_told():
    def measure(assignment, check):
        raise ValueError("broken")

    trainer, said = worker(measure)
    trainer.begin("assignment")
    assert str(said.get(timeout=PATIENCE_SECONDS)) == "broken"


def test_an_abandoned_training_ends_and_the_next_begins():
    begun, abandoned = threading.Event(), threading.Event()

    def measure(assignment, check):
        if assignment == "old":
            begun.set()
            assert abandoned.wait(PATIENCE_SECONDS)
            check()
        return TRAINED

    trainer, said = worker(measure)
    trainer.begin("old")
    assert begun.wait(PATIENCE_SECONDS)
    trainer.abandon()
    abandoned.set()
    trainer.begin("new")
    assert said.get(timeout=PATIENCE_SECONDS) == TRAINED
    trainer.end()
    assert said.empty()


def test_training_outside_its_hours_waits_and_can_be_abandoned(monkeypatch):
    monkeypatch.setattr("fedkseed_client.worker.within", lambda hours, hour: False)
    trainer, said = worker(lambda assignment, check: TRAINED, hours=(9, 17))
    trainer.begin("assignment")
    trainer.end()
    assert said.empty()


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [((9, 17), (9, 16), (8, 17)), ((20, 6), (20, 23, 0, 5), (6, 12, 19)), ((0, 24), (0, 23), ()), (None, (0, 23), ())],
)
def test_training_begins_within_its_hours(hours, open_at, closed_at):
    assert all(within(hours, hour) for hour in open_at)
    assert not any(within(hours, hour) for hour in closed_at)
