"""The page `report.html` of a run: what was learnt, what it cost, and what became of every update.

`render` is a pure function of `Report`; the page is one file that loads nothing, escapes every name, and suits light and
dark screens.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fedkseed.messages import Outcome
from fedkseed_simulator import plots

TITLES = {"loss": "Held-out loss", "accuracy": "Held-out accuracy", "rouge_l": "ROUGE-L"}
PERCENT = ("accuracy", "rouge_l")  # shares of 1, the more the better; of other metrics, the less the better
UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
SHORT = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s"}
MEANINGS: Mapping[Outcome, str] = {
    "folded": "counted in full",
    "discounted": "counted, with less weight because it was stale",
    "stale": "refused: its base version was too old",
    "ahead": "refused: its base version is not committed yet",
    "mismatch": "refused: it was measured on another model",
    "uninvited": "refused: its client was not drawn for the round",
    "invalid": "refused: its contents break a rule",
    "voided": "counted at first, undone by a rollback",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One evaluated version."""

    version: int
    seconds: float  # virtual time at which the version was committed
    metrics: Mapping[str, float]  # by name: loss, accuracy (0 to 1), rouge_l (0 to 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """How many updates had one outcome at one staleness."""

    outcome: Outcome
    staleness: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """All messages of one type: encoded bytes as delivered, so that a round announced to ten clients counts ten times."""

    kind: str  # round, update, receipt, ...
    direction: Literal["down", "up"]  # to the clients, or from them
    messages: int
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRow:
    """One client over the whole run."""

    name: str
    examples: int
    speed: float  # factor on the time of a step: 2 is half as fast
    accepted: int  # updates folded or discounted
    refused: int
    weight: int  # sum of the weights of its accepted updates


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the page shows of one run."""

    name: str
    ending: str  # why training ended, as a phrase: "60 versions were committed"
    facts: tuple[tuple[str, str], ...]  # what was run, line by line: base model, support, pool, policy, digests, ...
    scores: tuple[Score, ...]  # by version, at least the first and the last
    decided: tuple[Decided, ...]
    traffic: tuple[Traffic, ...]
    participations: int  # clients' rounds: how many times a client answered a round
    model_size: int  # bytes of the trained model: FedAvg moves it down and up every time
    ledger_size: int  # bytes of ledger.safetensors
    probabilities: tuple[float, ...]  # of each seed at the end, K of them, summing to 1
    clients: tuple[ClientRow, ...]
    virtual_seconds: float
    wall_seconds: float

    @property
    def bytes_per_round(self) -> float:
        """What a client sends and receives for each round that it answers, as encoded."""
        return sum(load.size for load in self.traffic) / max(1, self.participations)

    @property
    def fedavg_bytes_per_round(self) -> int:
        """What FedAvg would move: the trained model down and up."""
        return 2 * self.model_size


def render(report: Report) -> str:
    """Write the page: HTML that holds its style and its plots."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(amount=plots.amount, duration=duration, times=_times)
    template = environment.from_string((resources.files(__package__) / "report.html.j2").read_text(encoding="utf-8"))
    each = max(report.participations, 1)
    used = report.bytes_per_round
    return template.render(
        report=report,
        changes=_changes(report.scores),
        curves=_curves(report.scores),
        outcomes=_outcomes(report.decided),
        staleness=_staleness(report.decided),
        used=used,
        fedavg=report.fedavg_bytes_per_round,
        each=each,
        traffic=Markup(_traffic(report, used, each)),  # noqa: S704 - our own SVG; matplotlib escapes text
        seeds=_seeds(report.probabilities),
        weight=max(sum(client.weight for client in report.clients), 1),
        heaviest=max((client.weight for client in report.clients), default=1) or 1,
        slowest=max((client.speed for client in report.clients), default=1.0),
    )


def duration(seconds: float) -> str:
    """Write a time in the two units that matter: 45 s, 3 min 20 s, 2 h 13 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    (large, size), (small, part) = next(pair for pair in pairwise(UNITS) if seconds >= pair[0][1])
    whole, rest = divmod(round(seconds / part), size // part)
    return f"{whole} {SHORT[large]} {rest} {SHORT[small]}" if rest else f"{whole} {SHORT[large]}"


def _times(ratio: float) -> str:
    """Write a ratio with two digits and thousands: 250,000."""
    digits = len(str(int(ratio)))
    return f"{round(ratio, 2 - digits):,.0f}" if ratio >= 10 else f"{ratio:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A metric before and after."""

    title: str
    before: str
    after: str
    change: str
    verdict: Literal["good", "bad", "same"]


def _changes(scores: tuple[Score, ...]) -> list[_Change]:
    """Compare the first and the last score."""
    before, after = scores[0].metrics, scores[-1].metrics
    return [_change(metric, before[metric], after[metric]) for metric in before if metric in after]


def _change(metric: str, before: float, after: float) -> _Change:
    """Compare two values: shares by points, others by per cent."""
    share = metric in PERCENT
    delta = after - before
    if not math.isfinite(delta):
        change = "not a finite number"
    elif delta == 0:
        change = "unchanged"
    elif share:
        change = f"{100 * delta:+.1f} points"
    else:
        change = f"{delta / abs(before):+.0%}" if before else f"{delta:+.3f}"
    shown = [f"{value:.1%}" if share else f"{value:.3f}" for value in (before, after)]
    better = (delta > 0) == share and math.isfinite(delta)
    return _Change(
        title=TITLES.get(metric, metric),
        before=shown[0],
        after=shown[1],
        change=change.replace("-", "\N{MINUS SIGN}"),
        verdict="same" if delta == 0 else "good" if better else "bad",
    )


def _curves(scores: tuple[Score, ...]) -> list[tuple[str, Markup, Markup]]:
    """Plot every metric by version and by virtual time, as far as it is finite."""
    unit, size = next((name, size) for name, size in UNITS if scores[-1].seconds >= 2 * size or size == 1)
    drawn = []
    for metric in scores[-1].metrics:
        known = [score for score in scores if math.isfinite(score.metrics.get(metric, math.nan))]
        if known:
            values, percent = [score.metrics[metric] for score in known], metric in PERCENT
            times = [score.seconds / size for score in known]
            by_version = plots.curve([score.version for score in known], values, across="version", percent=percent)
            by_time = plots.curve(times, values, across=f"virtual time ({unit})", percent=percent)
            drawn.append((TITLES.get(metric, metric), Markup(by_version), Markup(by_time)))  # noqa: S704 - our own SVG
    return drawn


def _outcomes(decided: tuple[Decided, ...]) -> list[tuple[Outcome, str, int]]:
    """Count the updates of each outcome, with what it means."""
    counts: Counter[Outcome] = Counter()
    for part in decided:
        counts[part.outcome] += part.count
    return [(outcome, meaning, counts[outcome]) for outcome, meaning in MEANINGS.items() if counts[outcome]]


def _staleness(decided: tuple[Decided, ...]) -> Markup | None:
    """Plot the staleness of the decided updates, if there are any."""
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for part in sorted(decided, key=lambda part: list(MEANINGS).index(part.outcome)):
        counts[part.outcome][max(part.staleness, 0)] += part.count
    return Markup(plots.staleness(counts)) if counts else None  # noqa: S704 - our own SVG


def _traffic(report: Report, used: float, each: int) -> str:
    """Plot bytes per client and round by message type, their sum, and what FedAvg would move."""
    loads = [(f"{load.kind} {'↓' if load.direction == 'down' else '↑'}", load.size / each) for load in report.traffic]
    return plots.traffic([*loads, ("all messages", used)], ("FedAvg", 2 * report.model_size))


def _seeds(probabilities: tuple[float, ...]) -> tuple[Markup, Markup] | None:
    """Plot the seeds' probabilities against uniform, unless all are equal."""
    relative = [probability * len(probabilities) for probability in probabilities]
    if not relative or max(relative) - min(relative) < 1e-9:
        return None
    return Markup(plots.importance(relative)), Markup(plots.levels(relative))  # noqa: S704 - our own SVG
