"""Lines of the log: text for people, JSON for machines, no passwords in either."""

import io
import json
import logging

import pytest

from fedkseed import logs


@pytest.fixture
def written():
    """Have lines written in a style; gives what was written. The handlers of the test runner come back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()

    def start(style, **who):
        stream = io.StringIO()
        logs.set_up(style, who, stream)
        return stream

    yield start
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_of_text_has_the_message_and_its_fields(written):
    stream = written("text", federation="toy")
    logs.info("round closed", version=3, seconds=1.23456789, reason="", clients="ann and bob")
    assert stream.getvalue().endswith(' INFO round closed version=3 seconds=1.23457 reason="" clients="ann and bob"\n')


def test_a_line_of_json_is_one_object_with_who_says_it(written):
    stream = written("json", federation="toy", service="client", client="ann")
    logs.warning("training ended", loss=float("nan"), scores={"loss": float("inf"), "accuracy": 0.5}, version=3)
    line = json.loads(stream.getvalue(), parse_constant=pytest.fail)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "message": "training ended",
        "federation": "toy",
        "service": "client",
        "client": "ann",
        "loss": None,
        "scores": {"loss": None, "accuracy": 0.5},
        "version": 3,
    }


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("reason", ["a\n2026-01-01 00:00:00,000 INFO all is well", "\x1b[2J", "a\x00b", "\u2028", "\u202e"])
def test_what_somebody_else_wrote_neither_begins_a_line_nor_moves_the_cursor(style, reason, written):
    stream = written(style)
    logs.info("receipt", reason=reason)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()


@pytest.mark.parametrize("style", ["text", "json"])
def test_passwords_in_urls_are_left_out_and_a_failure_is_told(style, written):
    stream = written(style)
    fault = ConnectionError("redis://:secret@db:6379/0")
    logging.getLogger("anybody").error("amqp://user:secret@mq/%%2F of %s", "somebody", exc_info=fault)
    text = stream.getvalue()
    assert "secret" not in text
    assert "amqp://user:...@mq/%2F of somebody" in text
    assert "redis://:...@db:6379/0" in text
    assert "ConnectionError" in text
