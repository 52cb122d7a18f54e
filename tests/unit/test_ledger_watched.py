"""A watched ledger tells of every head that is read and every change that is made, and changes nothing about them."""

from threading import Event

import pytest

from fedkseed.errors import LedgerUnreachable
from fedkseed.ledger.fold import fold
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.ledger.watched import Looked, Transacted, WatchedLedger
from fedkseed_aggregator.patience import PatientLedger, Unanswered
from tests.ledgers import ledger, update


class Racing(MemoryLedger):
    """A store whose first attempts at a change are lost to others."""

    lost = 2

    def transact(self, change):
        for _ in range(self.lost):
            change(self.head(), self.now())
        return super().transact(change)


class Away(MemoryLedger):
    """A store that does not answer at first."""

    silences = 2

    def head(self):
        if self.silences:
            self.silences -= 1
            raise LedgerUnreachable("nobody there")
        return super().head()


@pytest.fixture
def told():
    return []


def test_a_change_is_told_with_its_heads_and_the_races_it_lost(told):
    before = ledger()
    watched = WatchedLedger(Racing(before, lambda: 1000.0), told.append)
    folded = watched.transact(lambda head, now: fold(head, [update(head)], now))
    (change,) = told
    assert isinstance(change, Transacted)
    assert (change.before, change.after, change.folded) == (before, watched.head(), folded)
    assert (change.now, change.attempts) == (1000.0, 3)
    assert change.seconds >= 0


def test_a_head_that_is_read_is_told(told):
    watched = WatchedLedger(MemoryLedger(ledger(), lambda: 7.0), told.append)
    assert told == []
    assert watched.now() == 7.0
    head = watched.head()
    (looked,) = told
    assert isinstance(looked, Looked)
    assert looked.head is head
    assert (tuple(watched.commits()), dict(watched.clients())) == ((), {})


def test_every_try_in_vain_is_told_and_made_again_later(told):
    patient = PatientLedger(Away(ledger(), lambda: 7.0), Event(), told.append)
    assert patient.head().version == 0
    assert told == [
        Unanswered(reason="nobody there", again_seconds=0.1),
        Unanswered(reason="nobody there", again_seconds=0.2),
    ]


def test_a_process_that_stops_waits_no_longer(told):
    stopping = Event()
    stopping.set()
    with pytest.raises(LedgerUnreachable):
        PatientLedger(Away(ledger(), lambda: 7.0), stopping, told.append).head()
    assert len(told) == 1
