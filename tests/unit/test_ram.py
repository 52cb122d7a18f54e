"""Weights are streamed where they have no room, which the machine and its control groups say."""

import pytest

from fedkseed import ram

GIB = 1024**3
MEMINFO = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   21000000 kB\nHugePages_Total:       0\n"


@pytest.mark.parametrize(
    ("memory", "available", "streamed"),
    [
        ("resident", 1, False),
        ("streaming", 100 * GIB, True),
        ("auto", 4 * GIB, False),
        ("auto", 4 * GIB - 1, True),
        ("auto", None, False),
    ],
)
def test_weights_are_streamed_where_three_quarters_of_what_is_available_are_not_enough(memory, available, streamed):
    assert ram.streams(memory, needed_bytes=3 * GIB, available_bytes=available) is streamed


def test_a_machine_says_what_is_available():
    assert ram.machine(MEMINFO) == 21_000_000 * 1024
    assert ram.machine("") is None


def test_a_control_group_has_its_limit_less_what_cannot_be_given_up():
    assert ram.group(f"{4 * GIB}\n", f"anon {GIB}\nfile {2 * GIB}\nshmem 1024\n") == 3 * GIB - 1024
    assert ram.group(f"{4 * GIB}\n", f"rss 7\ntotal_rss {GIB}\ntotal_cache {GIB}\n") == 3 * GIB
    assert ram.group(f"{GIB}\n", f"anon {2 * GIB}\n") == 0


@pytest.mark.parametrize("limit", ["max\n", ""])
def test_a_control_group_without_a_limit_says_nothing(limit):
    assert ram.group(limit, "anon 1\n") is None


def test_this_machine_has_something_available():
    assert ram.available_bytes() > 2**20
