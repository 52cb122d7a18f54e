"""The checker of the fault report, on ledgers that are right and on ledgers that are not."""

from dataclasses import replace

import pytest

from benchmarks.faults.checker import history, judge, unanswered
from benchmarks.faults.journal import Record
from fedkseed.codec import encode
from fedkseed.ledger.fold import fold
from tests.ledgers import ledger, update

NAMES = ("ann", "bob", "cec", "dan", "eve")


def about(kind, message) -> Record:
    return Record(
        kind=kind, at=0.0, client=message.client, base=message.base, body=b"" if kind == "confirmed" else encode(message)
    )


class Run:
    """Updates that were sent, confirmed and folded, two to a round; the last one waits in the open round."""

    def __init__(self):
        self.head, self.commits, self.records = ledger(max_staleness=4, staleness_law="polynomial"), [], []
        for i, name in enumerate(NAMES):
            self.send(update(self.head, name, base=0, k=(i, i + 1), g=(0.5 * i, -1.25), n=i + 1))

    def send(self, sent, *, folded=True):
        self.records += [about("sent", sent), about("confirmed", sent)]
        if folded:
            self.head, told = fold(self.head, [sent], 1000.0)
            self.commits += told.commits
            self.records += [about("receipt", receipt) for receipt in told.receipts]

    def verdict(self):
        return judge(history(self.records), self.commits, self.head)


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_run_in_which_all_went_well_is_good(run):
    verdict = run.verdict()
    assert verdict.good
    assert (verdict.attempts, verdict.acknowledged, verdict.counted, verdict.versions) == (5, 5, 5, 2)
    assert (verdict.lost, verdict.duplicated, verdict.unexpected, verdict.recovered, verdict.unknown) == (0, 0, 0, 0, 0)


def test_what_was_confirmed_and_is_nowhere_is_lost(run):
    run.send(update(run.head, "fay"), folded=False)
    verdict = run.verdict()
    assert (verdict.lost, verdict.named["lost"]) == (1, [("fay", 2)])
    assert not verdict.good
    assert unanswered(history(run.records), run.head, run.commits) == 1


def test_what_was_refused_with_a_receipt_is_not_lost(run):
    run.send(update(run.head, "fay", base=9))
    verdict = run.verdict()
    assert (verdict.lost, verdict.refused) == (0, {"ahead": 1})
    assert verdict.good
    assert unanswered(history(run.records), run.head, run.commits) == 0


def test_what_a_receipt_says_is_counted_and_is_not_is_lost(run):
    run.head = replace(run.head, pending=replace(run.head.pending, members=()))
    assert run.verdict().named["lost"] == [("eve", 0)]


def test_what_stands_in_two_versions_is_duplicated(run):
    first, second = run.commits
    run.commits = [first, replace(second, members=(*second.members, first.members[0]))]
    assert run.verdict().named["duplicated"] == [("ann", 0)]


def test_what_nobody_sent_is_unexpected(run):
    run.records = [record for record in run.records if record.client != "bob"]
    verdict = run.verdict()
    assert verdict.named["unexpected"] == [("bob", 0)]
    assert not verdict.good


def test_what_has_another_weight_than_its_update_is_unexpected(run):
    first, second = run.commits
    run.commits = [replace(first, members=tuple(replace(member, omega=member.omega + 1) for member in first.members)), second]
    assert run.verdict().named["unexpected"] == [("ann", 0), ("bob", 0)]


def test_what_was_never_confirmed_and_counts_is_recovered(run):
    run.records = [record for record in run.records if (record.kind, record.client) != ("confirmed", "cec")]
    verdict = run.verdict()
    assert (verdict.recovered, verdict.unknown) == (1, 0)
    assert verdict.good


def test_what_was_never_confirmed_and_is_nowhere_is_unknown(run):
    run.records.append(about("sent", update(run.head, "fay")))
    verdict = run.verdict()
    assert (verdict.recovered, verdict.unknown, verdict.lost) == (0, 1, 0)
    assert verdict.good


@pytest.mark.parametrize("client", NAMES)
def test_coefficients_that_other_numbers_add_up_to_are_found(run, client):
    other = update(run.head, client, base=0, k=(100,), g=(2.0,), n=NAMES.index(client) + 1)
    run.records = [about("sent", other) if (r.kind, r.client) == ("sent", client) else r for r in run.records]
    verdict = run.verdict()
    assert not verdict.coefficients
    assert not verdict.good
