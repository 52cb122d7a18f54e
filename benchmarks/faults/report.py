"""The page that says what is promised, and what a run came to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.faults.run import Outcome, Played, percentile
from benchmarks.faults.world import SIZE, STEPS

TEMPLATE = Path(__file__).with_name("page.md")


def page(outcome: Outcome) -> str:
    """The page, as Markdown."""
    setting = outcome.setting
    text = TEMPLATE.read_text(encoding="utf-8").format(
        result="\n".join(_result(outcome)),
        minutes=outcome.planned_minutes,
        seed=setting.seed,
        nodes=outcome.nodes,
        node="node" if outcome.nodes == 1 else "nodes, one broker,",
        clients=setting.clients,
        rate=setting.rate,
        cohort=setting.cohort,
        deadline=setting.deadline_seconds,
        minimum=setting.minimum,
        staleness=setting.max_staleness,
        size=SIZE,
        steps=STEPS,
    )
    return text.rstrip()


def _result(outcome: Outcome) -> Iterator[str]:
    verdict, seconds = outcome.verdict, _seconds(outcome.played)
    kept = "every promise was kept" if outcome.good else "**a promise was broken**"
    yield "## What came of it"
    yield ""
    yield f"{len(outcome.faults)} faults of {len(_kinds(outcome.faults))} kinds in {outcome.minutes:.1f} minutes: {kept}."
    yield ""
    yield from _table(
        ("", ""),
        {
            "attempts": verdict.attempts,
            "acknowledged": verdict.acknowledged,
            "counted": verdict.counted,
            "refused": ", ".join(f"{count} {kind}" for kind, count in verdict.refused.items()) or 0,
            "**lost**": verdict.lost,
            "**duplicated**": verdict.duplicated,
            "**unexpected**": verdict.unexpected,
            "recovered": verdict.recovered,
            "unknown": verdict.unknown,
            "counted, and its client was never told": verdict.untold,
            "attempts a second, over the whole run": f"{verdict.attempts / (60 * outcome.minutes):.0f}",
            "versions": verdict.versions,
            "coefficients are those of the recorded updates": _word(verdict.coefficients),
            "`verify` holds": _word(outcome.verified),
            "dead letters": outcome.dead,
            **outcome.heard,
            "older ledgers that were served": len(outcome.accepted),
            "services that ended for no known reason": sum(outcome.exits.values()),
            "time to recover, p50 and p95": f"{_number(percentile(seconds, 0.5))} s, {_number(percentile(seconds, 0.95))} s",
            "faults that could not be played": len(outcome.played) - len(outcome.faults),
            "faults after which it did not recover in two minutes": sum(one.recovered is None for one in outcome.played),
        }.items(),
    )
    yield ""
    yield "## Faults by kind"
    yield ""
    rows = [(kind, *_row(faults)) for kind, faults in sorted(_kinds(outcome.faults).items())]
    yield from _table(("kind", "faults", "time to recover, p50", "p95", "longest pause"), rows)


def _kinds(played: Sequence[Played]) -> Mapping[str, list[Played]]:
    kinds = defaultdict(list)
    for fault in played:
        kinds[fault.kind].append(fault)
    return kinds


def _seconds(played: Sequence[Played]) -> list[float]:
    return [fault.recovered for fault in played if fault.recovered is not None]


def _row(faults: Sequence[Played]) -> tuple[str, ...]:
    seconds = _seconds(faults)
    shares = (f"{_number(percentile(seconds, share))} s" for share in (0.5, 0.95))
    return (str(len(faults)), *shares, f"{max(fault.paused for fault in faults):.1f} s")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _word(so: bool) -> str:
    return "yes" if so else "**no**"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
