"""Does it learn, on real data and against the field? Experiments, their schedule, and the page of results.

    python -m benchmarks.quality --list              # every run of the schedule, and how long it takes
    python -m benchmarks.quality                     # carry out what has no record yet; stop and start it at any time, or
                                                     # several at once where there is room, as on a GPU
    python -m benchmarks.quality --only stragglers   # one experiment, or one row: --only "methods/FedAvg"
    python -m benchmarks.quality --quick             # a miniature of every row, and whether it agrees
    python -m benchmarks.quality.page                # docs/results.md from the records

Run from the repository's root; `python examples/prepare.py sentiment` and `dialogue` fetch what is needed.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import transformers

from benchmarks.quality import claims, estimate, experiments, records, runner
from benchmarks.quality.runner import Entry, Schedule


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what there is to run, and run nothing")
    parser.add_argument("--only", action="append", metavar="EXPERIMENT[/ROW]", help="nothing else; may be repeated")
    parser.add_argument("--seed", type=int, help="only runs with that seed, and trials")
    parser.add_argument("--quick", action="store_true", help="miniatures, of one seed and at the rates of the files")
    parser.add_argument("--records", type=Path, help="where records are; a miniature's go when it is over")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()

    def wanted(entry: Entry) -> bool:
        names = {entry.experiment.name, f"{entry.experiment.name}/{entry.row.name}"}
        chosen = not arguments.only or bool(names & set(arguments.only))
        return chosen and arguments.seed in {None, entry.run.seed}

    described = experiments.read()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as scratch:
            folder = arguments.records or Path(scratch)
            schedule = Schedule(experiments.first_seeds(described), change=estimate.miniature, searching=False)
            return _listed(schedule, folder, wanted) if arguments.list else _quick(schedule, folder, wanted)
    folder, schedule = arguments.records or records.FOLDER, Schedule(described)
    if arguments.list:
        return _listed(schedule, folder, wanted)
    runner.work(schedule, folder, wanted, say)
    return 0


def _listed(schedule: Schedule, folder: Path, wanted: runner.Wanted) -> int:
    """Print every run once, in order, and how long each experiment takes."""
    found, seen = records.read(folder), set[str]()
    left: Counter[str] = Counter()
    for entry in filter(wanted, schedule.entries(found)):
        for run in (*entry.trials.values(), entry.run):
            if run.digest in seen:
                continue
            seen.add(run.digest)
            told = found.get(run.digest)
            seconds = told["wall_seconds"] if told else estimate.seconds(run)
            left[entry.experiment.name] += 0 if told else round(seconds)
            print(f"{'took ' if told else 'about'} {seconds / 60:5.1f} min  {runner.label(entry, run)}")
    print(f"{len(seen)} runs. Left: about {_hours(left.total())}, of which", end=" ")
    print(", ".join(f"{name} {_hours(seconds)}" for name, seconds in left.items() if seconds))
    return 0


def _quick(schedule: Schedule, folder: Path, wanted: runner.Wanted) -> int:
    """Carry out miniatures, and say which directions they confirm; 1 where one does not."""
    runner.work(schedule, folder, wanted, say)
    wrong = 0
    for direction in claims.directions(runner.results(schedule, records.read(folder))):
        print(f"{'yes' if direction.holds else 'no '}  {direction.what}: {direction.figures}")
        wrong += not direction.holds
    return 1 if wrong else 0


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def say(line: str) -> None:
    """Tell whoever watches."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
