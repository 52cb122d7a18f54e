"""What a terminal shows of a federation."""

from dataclasses import replace

from rich.console import Console

from fedkseed.ledger.fold import score
from fedkseed.ledger.operate import finish, pause
from fedkseed.ledger.reports import Report, RoundReport
from fedkseed.ledger.store import LastSeen
from fedkseed_cli.dashboard import CLIENTS, curve, dashboard, tally
from fedkseed_cli.view import View, active
from tests.ledgers import at_version, evaluation, ledger

NOW = 1030.0


def view(head, commits=(), reports=None, **seen: LastSeen) -> View:
    return View(head=head, commits=commits, seen=seen, reports=reports or {}, now=NOW)


def shown(view: View) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(dashboard(view))
    return capture.get()


def heard(at: float, outcome="folded", base=0, seconds=None) -> LastSeen:
    report = None if seconds is None else Report(loss=0.625, seconds=seconds, size=931)
    return LastSeen(at=at, base=base, outcome=outcome, report=report)


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


def test_every_recent_version_says_what_its_updates_said():
    head, commits = at_version(ledger(), 2)
    reports = {1: RoundReport(updates=2, size=1862, losses=2, loss=3 << 16)}
    lines = [line for line in shown(view(head, commits, reports)).splitlines() if " 0 x2 " in line]
    assert "1.5000  931 B" in lines[0]
    assert "931 B" not in lines[1]


def test_the_loss_in_training_stands_above_the_scores_of_the_same_versions():
    head, commits = at_version(ledger(), 3)
    head, _ = score(head, evaluation(head, 1, loss=0.75), NOW)
    head, _ = score(head, evaluation(head, 3, loss=0.25), NOW)
    reports = {version: RoundReport(updates=1, losses=1, loss=(4 - version) << 16) for version in range(3)}
    *_, trained, held_out = shown(view(head, commits, reports)).splitlines()
    assert trained.rstrip() == "training loss 4.0000 █▅▁  2.0000"
    assert held_out.rstrip() == "held-out loss 0.7500  █ ▁ 0.2500"


def test_scores_are_curves_that_leave_out_what_is_no_number():
    head, commits = at_version(ledger(), 3)
    for version, loss in enumerate((0.75, float("nan"), 0.5, 0.25)):
        head, _ = score(head, evaluation(head, version, loss=loss), NOW)
    assert "held-out loss 0.7500 █ ▅▁ 0.2500" in shown(view(head, commits))


def test_clients_are_listed_by_when_they_were_heard_of():
    text = shown(view(ledger(), ann=heard(1000.0), bob=heard(1020.0, "stale")))
    assert text.index(" bob ") < text.index(" ann ")
    assert "0:00:10 ago" in text
    assert "folded, stale" in text


def test_clients_say_their_loss_bytes_and_seconds_and_the_slow_ones_stand_out():
    took = {"ann": 10.0, "bob": 25.0, "cec": 12.0}
    text = shown(view(ledger(), **{name: heard(1000.0, seconds=seconds) for name, seconds in took.items()}))
    ann, bob = (next(line for line in text.splitlines() if f" {name} " in line) for name in ("ann", "bob"))
    assert "folded   0.6250  931    10.0" in ann
    assert "25.0 slow" in bob
    assert text.count("slow") == 1


def test_whoever_sends_nothing_any_more_is_not_active():
    head, _ = at_version(ledger(max_staleness=1), 4)
    seen = view(head, ann=heard(1.0, base=1), bob=heard(2.0, base=2), cec=heard(3.0, base=4))
    assert active(seen) == {"bob", "cec"}
    assert "2 of 3 active: folded x3" in shown(seen)


def test_more_clients_than_there_is_room_for_are_counted():
    everybody = {f"c{i:02}": heard(1000.0 - i) for i in range(CLIENTS + 5)}
    text = shown(view(ledger(), **everybody))
    assert f"{CLIENTS + 5} of {CLIENTS + 5} active, 5 not shown: folded x{CLIENTS + 5}" in text


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
    assert curve([0.0, None, 1.0]) == "▁ █"


def test_a_tally_begins_with_the_most_frequent():
    assert tally({0: 1, 2: 3}) == "2 x3, 0"
