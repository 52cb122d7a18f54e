"""What the results must show: targets of the full runs, and directions in which their miniatures must agree.

Both are read off records. A target that is missed is explained in `explanations.toml`, by its name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bound import Bound
from benchmarks.quality.records import Record
from benchmarks.quality.statistics import reached_by_all, scores, spent

Results = Mapping[str, Sequence[Record]]  # by experiment/row, those that have been run
BASE, FEDAVG = "methods/zero-shot", "methods/FedAvg"
LONGER = f"{FEDAVG}, four times as long"
AS_PUBLISHED = "methods/FedKSeed as published, "
PUBLISHED = f"{AS_PUBLISHED}K = 4096"
SPARSE, SYNCHRONOUS = "methods/ours: sparse", "stragglers/Pareto, synchronous"
BOUNDED = "stragglers/Pareto, S = "
TEXT, CHANCE = "support/1/10,000, Shakespeare", "support/1/10,000, by chance"
OURS = "methods/ours: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Bound):
    """A figure of the results."""

    name: str
    measured: Callable[[Results], float | None]  # none: not run, or never reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What a miniature says."""

    what: str
    figures: str
    holds: bool


def _worse(kind: str) -> Callable[[Results], float | None]:
    """How many standard deviations the structured directions' loss is above that of Gaussian ones, of as many seeds."""

    def measured(results: Results) -> float | None:
        pair = [results.get(f"directions/{kind}, {family}") for family in ("hadamard", "gaussian")]
        if pair[0] is None or pair[1] is None or len(pair[0]) != len(pair[1]):
            return None
        ours, theirs = (scores(told, "loss") for told in (pair[0], pair[1]))
        return (ours.mean - theirs.mean) / theirs.deviation if theirs.deviation else None

    return measured


def best(results: Results) -> str | None:
    """The row of ours with the highest accuracy, of those that have at least as many seeds as FedAvg."""
    seeds = len(results.get(FEDAVG, ()))
    ours = [name for name, told in results.items() if name.startswith(OURS) and len(told) >= seeds]
    return max(ours, key=lambda name: scores(results[name], "accuracy").mean, default=None)


def share_of_gain(results: Results, other: str = FEDAVG) -> float | None:
    """What the best of ours gains in accuracy over zero-shot, over what another row does; none where one was not run."""
    name = best(results)
    if name is None or not {BASE, other} <= results.keys():
        return None
    before, ours, theirs = (scores(results[row], "accuracy").mean for row in (BASE, name, other))
    return (ours - before) / (theirs - before)


def _times_the_bytes(results: Results) -> float | None:
    name = best(results)
    return spent(results[FEDAVG], "bytes") / spent(results[name], "bytes") if name and FEDAVG in results else None


def _share_of_time(results: Results) -> float | None:
    """Virtual time in which bounded staleness reaches the synchronous runs' final loss, over theirs; of the best bound."""
    if SYNCHRONOUS not in results:
        return None
    loss = scores(results[SYNCHRONOUS], "loss").mean
    bounded = [told for name, told in results.items() if name.startswith(BOUNDED) and len(told) == len(results[SYNCHRONOUS])]
    times = [time for told in bounded if (time := reached_by_all(told, loss, "seconds")) is not None]
    return min(times) / spent(results[SYNCHRONOUS], "seconds") if times else None


def _share_of_forwards(results: Results) -> float | None:
    """Forwards until one of ours reaches the final loss of FedKSeed as published, over those until any of its rows does."""
    if PUBLISHED not in results:
        return None
    loss = scores(results[PUBLISHED], "loss").mean
    ours = _fewest_forwards(results, OURS, loss)
    theirs = _fewest_forwards(results, AS_PUBLISHED, loss)
    whole = spent(results[PUBLISHED], "forwards")  # some seeds of it end above their mean
    return None if ours is None else ours / min(whole, theirs or whole)


def _fewest_forwards(results: Results, prefix: str, loss: float) -> float | None:
    """To a loss, of those rows all of whose seeds reach it."""
    reached = [reached_by_all(told, loss, "forwards") for name, told in results.items() if name.startswith(prefix)]
    return min((forwards for forwards in reached if forwards is not None), default=None)


TARGETS = (
    Target(
        name="sparse-directions",
        what="loss with hadamard above that with gaussian, sparse support, in standard deviations of the latter",
        most=1.0,
        measured=_worse("sparse"),
    ),
    Target(
        name="full-directions",
        what="loss with hadamard above that with gaussian, all parameters, in standard deviations of the latter",
        most=1.0,
        measured=_worse("all parameters"),
    ),
    Target(
        name="accuracy",
        what="gain in accuracy of the best of ours, over FedAvg's",
        least=0.9,
        measured=share_of_gain,
    ),
    Target(
        name="bytes",
        what="bytes of FedAvg, over those of the best of ours",
        least=5000.0,
        measured=_times_the_bytes,
    ),
    Target(
        name="stragglers",
        what="virtual time of bounded staleness to the synchronous runs' final loss, over theirs, Pareto speeds with drop-outs",
        most=1 / 3,
        measured=_share_of_time,
    ),
    Target(
        name="forwards",
        what="forwards of ours (layers that are computed once for a batch count once) to the final loss of FedKSeed "
        "as published, over the fewest that any row of it took",
        most=0.25,
        measured=_share_of_forwards,
    ),
)


def directions(results: Results) -> Iterator[Direction]:
    """What the miniatures say of those rows that have been run."""
    for name, told in results.items():
        if name.startswith("methods/") and name != BASE and BASE in results:
            yield _less(f"{name.partition('/')[2]} learns: its loss, and the base's", told, results[BASE], "loss")
    for kind in ("sparse", "all parameters"):
        pair = [results.get(f"directions/{kind}, {family}") for family in ("hadamard", "gaussian")]
        if pair[0] and pair[1] and BASE in results:
            yield _as_good(f"{kind}: hadamard", "gaussian", (pair[0], pair[1]), results[BASE])
    if {SPARSE, PUBLISHED, BASE} <= results.keys():
        yield _as_good("ours", "FedKSeed as published", (results[SPARSE], results[PUBLISHED]), results[BASE])
    for what, one, other, cost in (
        ("FedAvg has a lower loss than ours", FEDAVG, SPARSE, "loss"),
        ("bounded staleness takes less virtual time than synchronous rounds", f"{BOUNDED}4", SYNCHRONOUS, "seconds"),
        ("ours sends fewer bytes than FedAvg", SPARSE, FEDAVG, "bytes"),
        ("ours sends fewer bytes than FedIT", SPARSE, "methods/FedIT", "bytes"),
        ("a support chosen on text beats one by chance", TEXT, CHANCE, "loss"),
    ):
        if {one, other} <= results.keys():
            yield _less(what, results[one], results[other], cost)


def _less(what: str, one: Sequence[Record], other: Sequence[Record], cost: str) -> Direction:
    measured = [scores(told, cost).mean if cost == "loss" else spent(told, cost) for told in (one, other)]
    return Direction(what=what, figures=f"{measured[0]:,.4g} against {measured[1]:,.4g}", holds=measured[0] < measured[1])


def _as_good(one: str, other: str, pair: tuple[Sequence[Record], Sequence[Record]], base: Sequence[Record]) -> Direction:
    """Of one seed there is no deviation: at least half of what the other gains."""
    before, ours, theirs = (scores(told, "loss").mean for told in (base, *pair))
    return Direction(
        what=f"{one} gains at least half of what {other} does",
        figures=f"{before - ours:.4f} and {before - theirs:.4f}",
        holds=before - ours >= (before - theirs) / 2,
    )
