"""Does it learn, on real data and against the field? Experiments, their schedule, and the page of results.

    python -m benchmarks.quality --list              # every run of the schedule, and how long it takes
    python -m benchmarks.quality                     # carry out what has no record yet; stop and start it at any time
    python -m benchmarks.quality --processes 2       # two runs at a time: two cores do a third more so
    python -m benchmarks.quality --only stragglers   # one experiment, or one row: --only "methods/FedAvg"
    python -m benchmarks.quality --quick             # a miniature of every row, and whether it agrees
    python -m benchmarks.quality.page                # docs/results.md from the records
    python -m benchmarks.quality.linear ROW          # what a row would come to, by a model of training, in seconds

Run from the repository's root; what is missing of model and data is fetched.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.quality import claims, estimate, records, runner
from benchmarks.quality.runner import Schedule
from benchmarks.quality.together import Wish, together


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what there is to run, and run nothing")
    parser.add_argument("--only", action="append", default=[], metavar="EXPERIMENT[/ROW]", help="nothing else; may be repeated")
    parser.add_argument("--seed", type=int, help="only runs with that seed, and trials")
    parser.add_argument("--quick", action="store_true", help="miniatures, of one seed and at the rates of the files")
    parser.add_argument("--records", type=Path, help="where records are; a miniature's go when it is over")
    parser.add_argument("--processes", type=int, metavar="N", help="runs at a time, on the same cores (1; of miniatures 2)")
    arguments = parser.parse_args()
    wish = Wish(tuple(arguments.only), arguments.seed, arguments.quick)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.records or (Path(scratch) if wish.quick else records.FOLDER)
        if arguments.list:
            return _listed(wish.schedule(), folder, wish.wants)
        together(arguments.processes or (2 if wish.quick else 1), wish, folder)
        return _confirmed(wish.schedule(), folder) if wish.quick else 0


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


def _confirmed(schedule: Schedule, folder: Path) -> int:
    """Say which directions the miniatures confirm; 1 where one does not."""
    wrong = 0
    for direction in claims.directions(runner.results(schedule, records.read(folder))):
        print(f"{'yes' if direction.holds else 'no '}  {direction.what}: {direction.figures}")
        wrong += not direction.holds
    return 1 if wrong else 0


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())
