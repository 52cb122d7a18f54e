"""The one loop: order of events and effects."""

import pytest

from fedkseed.reactor import Reactor


def echo(state, event):
    """A machine that remembers its events, and asks for an effect of each of their letters."""
    return (*state, event), tuple(event)


def test_effects_of_one_step_come_before_the_next_event():
    done = []
    outcomes = {"a": ["xy"], "b": ["z"]}
    reactor = Reactor((), echo, lambda effect: done.append(effect) or outcomes.get(effect, []))
    reactor.feed("ab")
    assert reactor.state == ("ab", "xy", "z")
    assert done == ["a", "b", "x", "y", "z"]


def test_an_event_that_comes_during_an_effect_waits_for_its_turn():
    done = []

    def carry_out(effect):
        done.append(effect)
        if effect == "a":
            reactor.feed("x")
        return ()

    reactor = Reactor((), echo, carry_out)
    reactor.feed("ab")
    assert done == ["a", "b", "x"]
    assert reactor.state == ("ab", "x")


def test_the_observer_sees_every_event_and_effect_in_order():
    seen = []
    Reactor((), echo, lambda effect: ["c"] if effect == "a" else (), seen.append).feed("ab")
    assert seen == ["ab", "a", "b", "c", "c"]


def test_after_an_effect_that_fails_the_rest_is_not_carried_out():
    done = []

    def carry_out(effect):
        done.append(effect)
        if effect == "b":
            raise KeyError(effect)
        return ()

    reactor = Reactor((), echo, carry_out)
    with pytest.raises(KeyError):
        reactor.feed("abc")
    assert done == ["a", "b"]
