"""Run faults for some minutes, and say what became of every update.

    python -m benchmarks.faults --minutes M --seed S [--json] [--out docs/faults.md] [--folder DIR] [--nodes N]

It ends with code 0 when every promise was kept, else with 1. Journals, logs and a line for each fault are in a folder as
it goes on; one that was not named is removed when all is well.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.faults import report
from benchmarks.faults.inject import FAULTS
from benchmarks.faults.run import clustered, run
from benchmarks.faults.schedule import schedule
from benchmarks.faults.world import Setting


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=3, help="of the broker")
    parser.add_argument("--rate", type=float, default=300.0, help="updates a second that are offered")
    parser.add_argument("--only", action="append", metavar="KIND", help="only faults whose kind begins so")
    parser.add_argument("--json", action="store_true", help="print a record instead of the page")
    parser.add_argument("--out", type=Path, help="write the page there, and the record beside it")
    parser.add_argument("--folder", type=Path, help="for journals and logs; kept")
    arguments = parser.parse_args()
    chosen = {kind: fault for kind, fault in FAULTS.items() if not arguments.only or kind.startswith(tuple(arguments.only))}
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"everything is in {folder}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))  # and all processes with it
    with clustered(folder / "broker", arguments.nodes) as cluster:
        outcome = run(
            folder / "world",
            Setting(seed=arguments.seed, rate=arguments.rate),
            cluster,
            schedule(arguments.seed, {kind: weight for kind, (weight, _) in chosen.items()}),
            {kind: fault for kind, (_, fault) in chosen.items()},
            seconds=60 * arguments.minutes,
            say=say,
        )
    record, page = json.dumps(outcome.record(), indent=1), report.page(outcome)
    for path in (folder / "faults.md", *([arguments.out] if arguments.out else [])):
        path.write_text(page + "\n", encoding="utf-8")
        path.with_suffix(".json").write_text(record + "\n", encoding="utf-8")
    if outcome.good and not arguments.folder:
        shutil.rmtree(folder)
    print(record if arguments.json else page)
    sys.exit(not outcome.good)


def say(line: str) -> None:
    """Tell whoever watches."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
