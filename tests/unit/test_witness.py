"""The witness: what an aggregator makes of a ledger and of what the broker remembers."""

from dataclasses import replace

import pytest

from fedkseed.errors import LedgerBehind
from fedkseed.ledger.fold import announced, close, found
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.transport.broker import Envelope
from fedkseed.transport.door import Letter, seal
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import shared, to_all
from fedkseed_aggregator.witness import LOOKS, judge, question, recollect
from tests.ledgers import NAME, at_version, genesis, ledger, policy

NEW = ledger()
HEAD = announced(at_version(ledger(), 3)[0], 3, 0)[0]
LATER = at_version(HEAD, 5)[0]
EXTENDED = close(HEAD, 3, 0, 5000.0)[0]


def test_a_new_federation_is_served():
    assert judge(NEW, None, 1) == "agreed"


@pytest.mark.parametrize("remembered", [NEW.round, HEAD.round], ids=["older", "same"])
def test_a_ledger_that_is_as_new_as_what_is_remembered_is_served(remembered):
    assert judge(HEAD, remembered, 1) == "agreed"


def test_an_announcement_that_was_not_recorded_is_no_contradiction():
    assert judge(NEW, NEW.round, 1) == "agreed"


def test_a_version_that_was_forgotten_is_no_contradiction():
    head = replace(HEAD, states={3: HEAD.digest})
    assert judge(head, replace(NEW.round, state=bytes(16)), 1) == "agreed"


@pytest.mark.parametrize("remembered", [LATER.round, EXTENDED.round], ids=["version", "attempt"])
def test_a_ledger_that_is_older_than_what_is_remembered_is_refused(remembered):
    error = judge(HEAD, remembered, 1)
    assert isinstance(error, LedgerBehind)
    assert f"is at version 3, attempt 0 (state {HEAD.digest.hex():.8})" in str(error)
    assert f"version {remembered.version}, attempt {remembered.attempt} (state {remembered.state.hex():.8}) was ann" in str(
        error
    )
    assert "restore its newest state" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("version", [3, 1])
def test_another_state_of_a_version_that_is_known_is_refused(version):
    assert isinstance(judge(HEAD, replace(HEAD.round, version=version, state=bytes(16)), 1), LedgerBehind)


def test_what_was_announced_and_is_not_remembered_is_looked_for_some_times():
    assert [judge(HEAD, None, looks) for looks in range(1, LOOKS + 1)] == ["again"] * (LOOKS - 1) + ["forgotten"]


class Scene:
    """A ledger, and a broker in memory; waiting is what happens meanwhile."""

    def __init__(self, head):
        self.broker = MemoryBroker()
        self.store = MemoryLedger(head, lambda: 0.0)
        self.waited = 0

    def remember(self, *letters):
        connection = self.broker.connect()
        connection.start(shared(NAME), (), lambda _: None)
        connection.publish(0, [seal(Letter(to=to_all(NAME), content=letter)) for letter in letters])

    def question(self, meanwhile=lambda: False):
        def wait(_):
            self.waited += 1
            return meanwhile()

        question(self.store, self.broker.connect(), NAME, wait)


def test_a_ledger_that_agrees_is_served_at_once():
    scene = Scene(HEAD)
    scene.remember(NEW.round, HEAD.round)
    scene.question()
    assert scene.waited == 0


def test_a_ledger_that_is_behind_ends_the_start():
    scene = Scene(HEAD)
    scene.remember(LATER.round)
    with pytest.raises(LedgerBehind):
        scene.question()


def test_a_letter_that_somebody_else_looks_at_is_waited_for():
    scene = Scene(HEAD)
    with pytest.raises(LedgerBehind):
        scene.question(lambda: scene.remember(LATER.round))
    assert scene.waited == 1


def test_a_broker_that_remembers_nothing_is_served_after_a_warning(caplog):
    scene = Scene(HEAD)
    scene.question()
    assert scene.waited == LOOKS - 1
    assert f"remembers no announcement of {NAME}" in caplog.text


def test_a_process_that_is_stopped_waits_no_longer(caplog):
    scene = Scene(HEAD)
    scene.question(lambda: True)
    assert (scene.waited, caplog.text) == (1, "")


def test_a_new_federation_on_a_new_broker_is_served_at_once():
    scene = Scene(found(genesis(), policy(), 0.0))
    scene.question()
    assert scene.waited == 0


def test_what_is_no_announcement_is_not_remembered():
    scene = Scene(HEAD)
    scene.remember()
    connection = scene.broker.connect()
    connection.start(shared(NAME), (), lambda _: None)
    connection.publish(0, [Envelope(to=to_all(NAME), body=b"rubbish")])
    assert recollect(connection, NAME) is None
