"""Run faults for some minutes, and say what became of every update.

    python -m benchmarks.faults --minutes M --seed S [--json] [--out docs/faults.md] [--folder DIR] [--nodes N]

It ends with code 0 when every promise was kept, else with 1. The folder is kept when one is given.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
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
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        cluster = stack.enter_context(clustered(folder.resolve() / "broker", arguments.nodes))
        outcome = run(
            folder.resolve() / "world",
            Setting(seed=arguments.seed, rate=arguments.rate),
            cluster,
            schedule(arguments.seed, {kind: weight for kind, (weight, _) in chosen.items()}),
            {kind: fault for kind, (_, fault) in chosen.items()},
            seconds=60 * arguments.minutes,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        record, page = json.dumps(outcome.record(), indent=1), report.page(outcome)
        for path, text in ((folder / "record.json", record), (folder / "faults.md", page)):
            path.write_text(text + "\n", encoding="utf-8")
    if arguments.out:
        arguments.out.write_text(page + "\n", encoding="utf-8")
        arguments.out.with_suffix(".json").write_text(record + "\n", encoding="utf-8")
    print(record if arguments.json else page)
    sys.exit(not outcome.good)


if __name__ == "__main__":
    main()
