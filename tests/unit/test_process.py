"""A process feeds its reactor from a broker, timers and other threads, one thing at a time, until it is stopped."""

import threading

import pytest

from fedkseed.errors import BaseMismatch
from fedkseed.process import BATCH, Process
from fedkseed.transport.broker import Confirmed, Delivery
from fedkseed.transport.topology import shared

NOTHING = shared("toy")


class Wire:
    """A broker that says what a test wants, and knows whether it was closed."""

    def __init__(self, *notices):
        self._notices, self.closed = notices, False

    def start(self, topology, queues, notify):
        self.say = notify
        for notice in self._notices:
            notify(notice)

    def close(self):
        self.closed = True


def delivery(tag):
    return Delivery(tag=tag, queue="q", key="k", body=b"")


def test_notices_are_read_together_and_events_are_fed_in_turn():
    fed, read = [], []
    wire = Wire(delivery(1), Confirmed(token=7), delivery(2))

    def reading(notices):
        read.append(tuple(notices))
        return [*notices, *(["end"] if notices else [])]

    process = Process(wire, reading)

    def feed(event):
        fed.append(event)
        if event == "end":
            process.stop()

    process.run(feed, "begin", NOTHING, ())
    assert fed == ["begin", delivery(1), Confirmed(token=7), delivery(2), "end"]
    assert read[0] == (delivery(1), Confirmed(token=7), delivery(2))
    assert wire.closed


def test_a_letter_that_comes_alone_is_read_alone_and_all_that_came_meanwhile_is_read_together_up_to_a_limit():
    read = []
    wire, more = Wire(delivery(1)), iter([3, BATCH + 1])  # letters that come while others are dealt with

    def reading(notices):
        read.append(len(notices))
        return notices[:1]

    process = Process(wire, reading)

    def feed(event):
        if event != "begin":
            for tag in range(next(more, 0)):
                wire.say(delivery(tag))
        if len(read) == 4:
            process.stop()

    process.run(feed, "begin", NOTHING, ())
    assert read == [1, 3, BATCH, 1]


def test_timers_come_in_order_unless_they_are_cancelled():
    fed = []
    process = Process(Wire(), lambda _: ())

    def feed(event):
        fed.append(event)
        if event == "begin":
            process.later(0.02, lambda: "last")
            process.later(0.01, lambda: "never").cancelled = True
            process.later(0.0, lambda: "first")
        if event == "last":
            process.stop()

    process.run(feed, "begin", NOTHING, ())
    assert fed == ["begin", "first", "last"]


def test_a_timer_beyond_what_can_be_waited_for_disturbs_nobody():
    process = Process(Wire(), lambda _: ())

    def feed(event):
        if event == "begin":
            process.later(1e300, lambda: "never")
            threading.Thread(target=lambda: process.put("end")).start()
        else:
            process.stop()

    process.run(feed, "begin", NOTHING, ())
    assert process.stopping.is_set()


def test_an_event_from_another_thread_is_fed_by_the_process_s_own():
    fed = []
    process = Process(Wire(), lambda _: ())

    def feed(event):
        fed.append((event, threading.current_thread().name))
        if event == "begin":
            threading.Thread(target=lambda: process.put("trained")).start()
        else:
            process.stop()

    process.run(feed, "begin", NOTHING, ())
    assert fed == [("begin", "MainThread"), ("trained", "MainThread")]


def test_an_error_of_another_thread_ends_the_process_and_its_connection():
    wire = Wire()
    process = Process(wire, lambda _: ())
    with pytest.raises(BaseMismatch, match="tensor x"):
        process.run(lambda _: process.fail(BaseMismatch("tensor x")), "begin", NOTHING, ())
    assert wire.closed


def test_a_stopping_process_takes_confirmations_and_no_deliveries():
    fed = []
    wire = Wire()
    process = Process(wire, lambda notices: notices, busy=lambda: Confirmed(token=1) not in fed)

    def feed(event):
        fed.append(event)
        if event == "begin":
            process.stop()
            wire.say(delivery(1))
            wire.say(Confirmed(token=1))

    process.run(feed, "begin", NOTHING, ())
    assert fed == ["begin", Confirmed(token=1)]


def test_a_process_that_still_waits_for_its_broker_can_be_stopped():
    """`start` returns once the connection is closed; nothing is fed then."""
    fed, wire = [], Wire()
    process = Process(wire, lambda _: ())

    def waiting(topology, queues, notify):
        process.stop()
        assert wire.closed, "nobody would end the waiting"

    wire.start = waiting
    process.run(fed.append, "begin", NOTHING, ())
    assert fed == []


def test_a_loop_answers_whoever_asks_while_it_turns():
    answers = []
    process = Process(Wire(), lambda _: ())

    def ask():
        answers.append(process.answers(60.0))
        process.stop()

    assert not process.answers(0.0), "nobody is there yet"
    process.run(lambda _: threading.Thread(target=ask).start(), "begin", NOTHING, ())
    assert answers == [True]
