"""The schedule carried out, one run after another; what has a record is not run again.

A row whose learning rate is searched for needs the records of its trials first: they are runs like any other.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality import experiments, gradients, numerics, prepare, records, simulated
from benchmarks.quality.averaged import zero_shot
from benchmarks.quality.experiments import Experiment, Method, Row, Run
from benchmarks.quality.fedzo import fedzo
from benchmarks.quality.journal import Journal
from benchmarks.quality.records import Record, Result

Procedure = Callable[[Run, Journal], Result]


def _in_one_go(method: Callable[[Run], Result]) -> Procedure:
    """A method that begins anew when it was stopped."""
    return lambda run, _journal: method(run)


METHODS: Mapping[Method, Procedure] = {
    "zero-shot": _in_one_go(zero_shot),
    "fedavg": _in_one_go(gradients.fedavg),
    "fedit": _in_one_go(gradients.fedit),
    "fedzo": _in_one_go(fedzo),
    "fedkseed": simulated.fedkseed,
    "half-precision": _in_one_go(numerics.half_precision),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row and a seed of the schedule: its run, and the trials that its learning rate is chosen by."""

    experiment: Experiment
    row: Row
    run: Run  # at the rate of its files as long as trials are missing
    trials: Mapping[float, Run]

    def settled(self, found: Mapping[str, Record]) -> bool:
        """Whether its learning rate is known."""
        return all(trial.digest in found for trial in self.trials.values())


Wanted = Callable[[Entry], bool]


class Schedule:
    """All experiments, in the light of the records that are there.

    Args:
        described: the experiments, in the order in which they are run.
        folder: where their files are.
        change: is applied to every run, as a miniature is made.
        searching: whether learning rates are chosen by trials; those of the files are taken otherwise.
    """

    def __init__(
        self,
        described: Sequence[Experiment],
        folder: Path = experiments.FOLDER,
        *,
        change: Callable[[Run], Run] = lambda run: run,
        searching: bool = True,
    ) -> None:
        self._described = {experiment.name: experiment for experiment in described}
        self._folder, self._change, self._searching = folder, change, searching

    def entries(self, found: Mapping[str, Record]) -> Iterator[Entry]:
        """Rows and seeds in the order in which they are run."""
        for experiment, row, seed in experiments.every(tuple(self._described.values())):
            run = self._change(experiments.run(experiment, row, seed, self._folder))
            trials = self._trials(experiment, row)
            rate = chosen(trials, found)
            yield Entry(
                experiment=experiment, row=row, run=run if rate is None else experiments.at_rate(run, rate), trials=trials
            )

    def _trials(self, experiment: Experiment, row: Row) -> Mapping[float, Run]:
        """What its rate is chosen by; the trials of another row where it names one."""
        if row.rate_of:
            other, name = row.rate_of.split("/", 1)
            return self._trials(self._described[other], self._described[other].row(name))
        if row.rates is None or not self._searching:
            return {}
        run = experiments.run(experiment, row, experiments.SEARCH_SEED, self._folder)
        return experiments.trials(run, row.rates, row.trial_length)


def chosen(trials: Mapping[float, Run], found: Mapping[str, Record]) -> float | None:
    """The rate whose trial ended with the lowest loss; none while one is missing. A loss that is no number is the highest."""
    if not trials or any(run.digest not in found for run in trials.values()):
        return None
    losses = {rate: records.final(found[run.digest], "loss") for rate, run in trials.items()}
    return min(losses, key=lambda rate: float("inf") if math.isnan(losses[rate]) else losses[rate])


def label(entry: Entry, run: Run) -> str:
    """A run of an entry as people name it."""
    trial = f"trial of rate {run.federation.training.lr:g}" if run.seed == experiments.SEARCH_SEED else f"seed {run.seed}"
    return f"{entry.experiment.name}/{entry.row.name}, {trial}"


def missing(entry: Entry, found: Mapping[str, Record]) -> tuple[Run, ...]:
    """What an entry needs to be run next: its trials, and once they are known, the run whose rate they choose."""
    trials = tuple(trial for trial in entry.trials.values() if trial.digest not in found)
    return trials or (() if entry.run.digest in found else (entry.run,))


def carry_out(run: Run, folder: Path) -> Record:
    """Carry a run out and keep its record."""
    described = run.federation
    needed = [described.data.train, described.data.held_out, *([described.model.support] if described.model.support else [])]
    prepare.files(needed, described.model.base)
    started, journal = time.monotonic(), Journal(folder / f"{run.name}.journal")
    result = METHODS[run.method](run, journal)
    told = records.record(run, result, time.monotonic() - started + journal.recalled_seconds)
    if described.model.support:
        told["choosing_seconds"] = prepare.choosing_seconds(described.model.support)
    records.write(folder, run.name, told)
    journal.remove()
    return told


def work(
    schedule: Schedule,
    folder: Path,
    wanted: Wanted,
    say: Callable[[str], None],
    carry: Callable[[Run, Path], Record] = carry_out,
) -> None:
    """Carry out what is wanted and missing, until nothing is left that no other process has begun.

    Where there is room for several at a time, as on a GPU, start several processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while _one(schedule, folder, wanted, say, carry):
        pass


def _one(
    schedule: Schedule, folder: Path, wanted: Wanted, say: Callable[[str], None], carry: Callable[[Run, Path], Record]
) -> bool:
    """Carry out one run; false where there is none."""
    found = records.read(folder)
    for entry in filter(wanted, schedule.entries(found)):
        for run in missing(entry, found):
            with records.claimed(folder, run.name) as ours:
                if not ours:
                    continue
                say(label(entry, run))
                told = carry(run, folder)
                scores = ", ".join(f"{name} {value:.3f}" for name, value in told["curve"][-1]["metrics"].items())
                say(f"  {told['wall_seconds']:.0f} s: {scores}")
                return True
    return False


def results(schedule: Schedule, found: Mapping[str, Record]) -> dict[str, list[Record]]:
    """The records of all seeds that have been run, by experiment/row, in the order of the schedule's files."""
    told: dict[str, list[Record]] = {}
    for entry in schedule.entries(found):
        if entry.run.digest in found and entry.settled(found):
            told.setdefault(f"{entry.experiment.name}/{entry.row.name}", []).append(found[entry.run.digest])
    return told
