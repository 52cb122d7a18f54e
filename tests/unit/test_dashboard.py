"""What a terminal shows of a federation."""

from dataclasses import replace

from rich.console import Console

from fedkseed.ledger.fold import score
from fedkseed.ledger.operate import finish, pause
from fedkseed.ledger.store import LastSeen
from fedkseed_cli.dashboard import CLIENTS, curve, dashboard, tally
from fedkseed_cli.view import View
from tests.ledgers import at_version, evaluation, ledger

NOW = 1030.0


def view(head, commits=(), **seen: LastSeen) -> View:
    return View(head=head, commits=commits, seen=seen, now=NOW)


def shown(view: View) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(dashboard(view))
    return capture.get()


def heard(at: float, outcome="folded") -> LastSeen:
    return LastSeen(at=at, base=0, outcome=outcome)


def test_a_federation_that_has_begun_shows_its_open_round():
    text = shown(view(ledger(total=7, deadline_seconds=60)))
    assert "little  open, version 0 of 7" in text
    assert "round 0, attempt 0" in text
    assert "0 of 2 updates" in text
    assert "0:00:30 left" in text


def test_every_recent_version_has_a_line_with_its_scores():
    head, commits = at_version(ledger(), 3)
    head, _ = score(head, evaluation(head, 2, loss=0.25), NOW)
    lines = [line.split() for line in shown(view(head, commits)).splitlines() if "0:00:00" in line]
    assert [line[1] for line in lines] == ["3", "2"]
    assert "0.2500" in lines[1]


def test_scores_are_curves_that_leave_out_what_is_no_number():
    head, commits = at_version(ledger(), 3)
    for version, loss in enumerate((0.75, float("nan"), 0.5, 0.25)):
        head, _ = score(head, evaluation(head, version, loss=loss), NOW)
    assert "loss 0.7500 █▅▁ 0.2500" in shown(view(head, commits))


def test_clients_are_listed_by_when_they_were_heard_of():
    text = shown(view(ledger(), ann=heard(1000.0), bob=heard(1020.0, "stale")))
    assert text.index(" bob ") < text.index(" ann ")
    assert "0:00:10 ago" in text
    assert "folded, stale" in text


def test_more_clients_than_there_is_room_for_are_counted():
    everybody = {f"c{i:02}": heard(1000.0 - i) for i in range(CLIENTS + 5)}
    text = shown(view(ledger(), **everybody))
    assert f"and 5 more: folded x{CLIENTS + 5}" in text


def test_a_pause_an_overdue_round_and_the_end_are_said():
    head = ledger(deadline_seconds=60)
    assert "it does not close" in shown(view(pause(head, NOW)[0]))
    assert "0:00:15 ago" in shown(replace(view(head), now=1075.0))
    ended = shown(view(finish(head, NOW)[0]))
    assert "closed" in ended
    assert "attempt" not in ended


def test_a_curve_goes_from_the_lowest_to_the_highest_bar():
    assert curve([0.0, 0.5, 1.0]) == "▁▅█"
    assert curve([2.0, 2.0]) == "▁▁"


def test_a_tally_begins_with_the_most_frequent():
    assert tally({0: 1, 2: 3}) == "2 x3, 0"
