"""The aggregator's edge asks the ledger for no more than it needs."""

from fedkseed.ledger.fold import announced, fold, unannounced
from fedkseed.ledger.memory import MemoryLedger
from fedkseed.transport.memory import MemoryBroker
from fedkseed_aggregator.effects import Recall
from fedkseed_aggregator.shell import Shell
from tests.ledgers import ledger, update


class Noted(MemoryLedger):
    """Knows how often its log was read."""

    read = 0

    def commits(self, after=0):
        self.read += 1
        return super().commits(after)


def recalled(rounds):
    """What an aggregator recalls when so many rounds have closed since the last announcement, and how often it read the log."""
    store = Noted(announced(ledger(cohort=1), 0, 0)[0], lambda: 1000.0)
    for _ in range(rounds):
        store.transact(lambda head, now: fold(head, [update(head)], now))
    edge = Shell(store=store, broker=MemoryBroker().connect(), wake=lambda _at, _event: None)
    (event,) = edge.carry_out(Recall())
    return event, store.read


def test_a_round_that_has_closed_is_announced_without_reading_the_log():
    event, read = recalled(1)
    assert [round_.version for round_ in unannounced(event.head, event.commits)] == [1]
    assert read == 0


def test_rounds_that_the_head_does_not_hold_are_read_from_the_log():
    event, read = recalled(3)
    assert [round_.version for round_ in unannounced(event.head, event.commits)] == [1, 2, 3]
    assert read == 1
