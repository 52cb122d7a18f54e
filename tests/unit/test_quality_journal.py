"""What a run has measured is there when it goes on, whole entries alone, and what it had taken is counted."""

import pytest

from benchmarks.quality.journal import Journal


def never():
    raise AssertionError("measured again")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


def test_what_was_measured_is_not_measured_again(path):
    values = {"k": b"\x01\x00", "loss": 0.5, "skipped": 0}
    assert Journal(path).once(("bfloat16", "ann", 3, 0), lambda: values) == values
    assert Journal(path).once(("bfloat16", "ann", 3, 0), never) == values


@pytest.mark.parametrize("other", [("float32", "ann", 3), ("bfloat16", "bob", 3), ("bfloat16", "ann", 4)])
def test_what_was_measured_of_something_else_is_nothing_to_go_by(path, other):
    journal = Journal(path)
    journal.once(("bfloat16", "ann", 3), lambda: {"loss": 0.5})
    assert journal.once(other, lambda: {"loss": 0.7}) == {"loss": 0.7}


def test_an_entry_that_was_cut_off_is_forgotten_and_those_after_it_are_kept(path):
    journal = Journal(path)
    for version in range(3):
        journal.once((version,), lambda: {"loss": 0.5})
    path.write_bytes(path.read_bytes()[:-3])
    Journal(path).once((2,), lambda: {"loss": 0.7})
    after = Journal(path)
    assert [after.once((version,), never)["loss"] for version in range(3)] == [0.5, 0.5, 0.7]


def test_what_it_had_taken_is_counted_once_it_is_used(path, monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr("benchmarks.quality.journal.time.monotonic", lambda: next(clock))
    Journal(path).once((1,), lambda: {"loss": 0.5})
    again = Journal(path)
    assert again.recalled_seconds == 0.0
    again.once((1,), never)
    assert again.recalled_seconds == 2.5


def test_it_leaves_nothing_behind(path):
    journal = Journal(path)
    journal.remove()
    journal.once((1,), lambda: {"loss": 0.5})
    journal.remove()
    assert not path.exists()
