"""Records: what a run came to, as JSON, one file a run.

A record holds all that the page is made of: settings, seed, versions, machine, times, and a curve of scores with what had
been spent by then. It is written when the run is complete, so that what is there need not be run again.
"""

import datetime as dt
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.interleaved import machine
from benchmarks.quality.experiments import Run

FOLDER = Path(__file__).parent / "records"
LIBRARIES = ("torch", "transformers", "peft", "numpy", "numba")
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The scores of a version, and what all clients together had spent on it."""

    version: int
    seconds: float  # virtual
    updates: int  # that clients had sent
    forwards: int  # passes of one example through the model; a backward pass counts as two
    bytes: int  # that clients had sent and received
    metrics: Mapping[str, float]  # held out: loss, accuracy, rouge_l


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a method came to."""

    curve: tuple[Point, ...]
    trained: int  # parameters
    dtype: str  # that was computed in
    notes: Mapping[str, Any] = field(default_factory=dict)


def record(run: Run, result: Result, wall_seconds: float) -> dict[str, Any]:
    """A record as plain values."""
    return {
        "digest": run.digest,
        "date": dt.datetime.now().astimezone().date().isoformat(),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "wall_seconds": round(wall_seconds, 1),
        "seed": run.seed,
        "settings": run.settings,
        **asdict(result),
    }


def write(folder: Path, name: str, told: Record) -> None:
    """Write a record: whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.json.partial"
    partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / f"{name}.json")


def read(folder: Path = FOLDER) -> dict[str, Record]:
    """All records, by the digest of their run."""
    found: Iterable[Record] = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return {told["digest"]: told for told in found}


def final(told: Record, metric: str) -> float:
    """A score of a run's last version; not a number where it has none."""
    return float(told["curve"][-1]["metrics"].get(metric, float("nan")))
