"""Virtual time."""

from math import inf

from fedkseed_simulator.clock import VirtualClock


def always():
    return True


def test_things_happen_in_order_of_time_then_of_asking():
    clock, seen = VirtualClock(), []
    for at, name in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        clock.at(at, lambda name=name: seen.append((clock.now, name)))
    clock.run(until_seconds=inf, while_=always)
    assert seen == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]


def test_what_happens_may_ask_for_more():
    clock, seen = VirtualClock(), []
    clock.after(1.0, lambda: clock.after(1.5, lambda: seen.append(clock.now)))
    clock.run(until_seconds=inf, while_=always)
    assert seen == [2.5]


def test_the_past_is_now():
    clock, seen = VirtualClock(), []
    clock.at(3.0, lambda: clock.at(1.0, lambda: seen.append(clock.now)))
    clock.run(until_seconds=inf, while_=always)
    assert seen == [3.0]


def test_what_is_cancelled_does_not_happen_and_takes_no_time():
    clock, seen = VirtualClock(), []
    clock.at(1.0, lambda: seen.append("first"))
    clock.at(9.0, lambda: seen.append("never")).cancelled = True
    clock.run(until_seconds=inf, while_=always)
    assert seen == ["first"]
    assert clock.now == 1.0


def test_it_stops_at_a_time():
    clock, seen = VirtualClock(), []
    for at in (1.0, 2.0, 3.0):
        clock.at(at, lambda at=at: seen.append(at))
    clock.run(until_seconds=2.0, while_=always)
    assert seen == [1.0, 2.0]
    assert clock.now == 2.0


def test_it_stops_when_a_condition_no_longer_holds():
    clock, seen = VirtualClock(), []
    for at in (1.0, 2.0, 3.0):
        clock.at(at, lambda at=at: seen.append(at))
    clock.run(until_seconds=inf, while_=lambda: len(seen) < 2)
    assert seen == [1.0, 2.0]
