"""Fuzz every door with inputs that coverage guides: `python -m tests.fuzz --minutes M [--json FILE] [--corpus DIR]`.

atheris (fedkseed[fuzz]) instruments the code; libFuzzer mutates the inputs of `corpus/` and keeps what reaches something new.
An input that raises what no target allows, takes ten seconds, or two gigabytes, ends a run: it is kept beside the corpus,
counted, and the next run begins. Ends with 1 if there was one. What it finds becomes an input in `corpus/`, which a unit test
replays.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.fuzz.targets import seeds

CORPUS = Path(__file__).with_name("corpus")
SLOWEST_SECONDS = 10
MOST_MEGABYTES = 2048
LONGEST = 20_000  # bytes of an input
PULSE = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was done so far."""

    inputs: int = 0  # that were executed
    edges: int = 0  # of fedkseed's code that were reached
    features: int = 0
    corpus: int = 0  # inputs that reach something that no other does
    crashes: int = 0
    cpu_minutes: float = 0.0
    wall_minutes: float = 0.0
    done: bool = False


def main() -> int:
    """Fuzz for some minutes."""
    parser = argparse.ArgumentParser(description="Fuzz every door of fedkseed.")
    parser.add_argument("--minutes", type=float, default=1.0, help="minutes of wall time (%(default)s)")
    parser.add_argument("--json", type=Path, help="where the record is kept, from the beginning on")
    parser.add_argument("--corpus", type=Path, help="where inputs that reach something new are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        record = fuzz(arguments.minutes, arguments.corpus or Path(scratch), arguments.json)
    print(json.dumps(asdict(record)))
    return 1 if record.crashes else 0


def fuzz(minutes: float, found: Path, kept: Path | None) -> Record:
    """Run after run until the time is over; the record is written whenever it changes."""
    found.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds().items():
        (found / name).write_bytes(seed)
    begun, record = time.monotonic(), Record()
    while (left := round(60 * minutes - (time.monotonic() - begun))) > 0:
        run = _run(left, found, record)
        for record in run:
            _keep(kept, replace(record, wall_minutes=(time.monotonic() - begun) / 60))
    record = replace(record, wall_minutes=(time.monotonic() - begun) / 60, done=True)
    _keep(kept, record)
    return record


def _run(seconds: int, found: Path, before: Record) -> Iterator[Record]:
    """One process, until the time is over or an input breaks it."""
    record = before
    command = [
        *(sys.executable, "-m", "tests.fuzz.child", str(found), str(CORPUS)),
        *(f"-max_total_time={seconds}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MOST_MEGABYTES}"),
        *(f"-max_len={LONGEST}", f"-artifact_prefix={found}/"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as child:
        assert child.stderr is not None, "it is a pipe"
        for line in child.stderr:
            if pulse := PULSE.search(line):
                inputs, edges, features, corpus = map(int, pulse.groups())
                minutes = before.cpu_minutes + (_cpu_seconds(child.pid) / 60)
                record = replace(
                    record, inputs=before.inputs + inputs, edges=edges, features=features, corpus=corpus, cpu_minutes=minutes
                )
                yield record
            elif not line.startswith(("INFO", "\t", "#")):
                print(line, end="", file=sys.stderr)
    if child.returncode:
        yield replace(record, crashes=record.crashes + 1)


def _cpu_seconds(pid: int) -> float:
    """What a process has taken of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _keep(path: Path | None, record: Record) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
