"""Experiments as files: each asks one question and lists rows; a row and a seed are a run.

An experiment's `base` is a whole `federation.toml` beside it. `[federation]` changes some of its settings for all rows of the
experiment, and a row's own `federation` some for that row:

    question = "Is it so?"
    base = "sentiment.toml"
    seeds = [1, 2, 3]

    [[rows]]
    name = "ours"
    method = "fedkseed"
    federation.pool.size = 1024
    rates = [5e-5, 1e-4, 2e-4]      # learning rates to choose from, by a run on other data that is half as long; or
    trial_length = 1.0              # as long: shorter ones take too large a rate for the best where rounds are of one client
    rate_of = "methods/other row"   # the one that was chosen for another row
    base = "other.toml"             # instead of the experiment's
    schedule = "cosine"             # of the learning rate, over the versions; instead of the experiment's
    dtype = "float32"               # what is computed in, whatever is fast on the machine; instead of the experiment's

Two runs with the same settings are one run, whichever experiments they are in: a run is known by the digest of what it is.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from fedkseed import federation as settings
from fedkseed.federation import Federation
from fedkseed.settings import Dtype

FOLDER = Path(__file__).parent / "experiments"
VALIDATION = "validation.jsonl"  # beside the held-out examples: what learning rates are chosen on
SEARCH_SEED = 0  # of runs that choose a learning rate; no other run has it

Method = Literal["zero-shot", "fedavg", "fedit", "fedzo", "fedkseed", "half-precision"]
Schedule = Literal["constant", "linear", "cosine"]
Rates = Annotated[tuple[float, ...], Field(min_length=2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of an experiment's table."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    method: Method
    base: str | None = None  # that of the experiment without it
    federation: dict[str, Any] = field(default_factory=dict)
    rates: Rates | None = None
    trial_length: Annotated[float, Field(gt=0, le=1)] = 0.5  # share of the rounds
    rate_of: str | None = None
    schedule: Schedule | None = None  # that of the experiment without it
    dtype: Dtype | None = None  # that of the experiment without it
    seeds: tuple[int, ...] | None = None  # those of the experiment without it


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One question."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    question: str
    text: str  # what the table shows, for its readers
    answer: str = ""  # in a sentence or two, once its rows were run
    base: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    order: int  # in which experiments are run: what is worth most comes first
    schedule: Schedule = "constant"
    dtype: Dtype | None = None  # what is fast on the machine without it
    timed: bool = False  # whether virtual time means something; elsewhere a round lasts as long as its deadline
    federation: dict[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One method on one federation; its seed is that of the simulation.

    Raises:
        ValueError: a schedule for a method that keeps its rate.
    """

    method: Method
    federation: Federation
    schedule: Schedule = "constant"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        if self.schedule != "constant" and self.method != "fedkseed":
            raise ValueError(f'schedule "{self.schedule}": {self.method} keeps its rate; only fedkseed follows a schedule')

    @property
    def seed(self) -> int:
        """What is left to chance."""
        return self.federation.simulation.seed

    @property
    def settings(self) -> dict[str, Any]:
        """What it is, as plain values; a dtype only where one is said."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain if self.dtype else {name: value for name, value in plain.items() if name != "dtype"}

    @property
    def digest(self) -> str:
        """What it is known by."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Of its record."""
        return f"{self.method}-{self.seed}-{self.digest[:10]}"


def read(folder: Path = FOLDER) -> tuple[Experiment, ...]:
    """All experiments, in the order in which they are run.

    Raises:
        ValidationError: a file is not an experiment.
    """
    found = [(path, tomllib.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.toml"))]
    described = [_EXPERIMENT.validate_python({"name": path.stem, **plain}) for path, plain in found if "question" in plain]
    return tuple(sorted(described, key=lambda experiment: experiment.order))


def first_seeds(described: Sequence[Experiment]) -> tuple[Experiment, ...]:
    """The same with one seed for every row."""
    return tuple(
        replace(one, seeds=one.seeds[:1], rows=tuple(replace(row, seeds=row.seeds and row.seeds[:1]) for row in one.rows))
        for one in described
    )


def run(experiment: Experiment, row: Row, seed: int, folder: Path = FOLDER) -> Run:
    """The run of a row and a seed, with the learning rate of its files."""
    plain = tomllib.loads((folder / (row.base or experiment.base)).read_text(encoding="utf-8"))
    changed = merged(merged(plain, experiment.federation), row.federation)
    described = settings.parse(located(merged(changed, {"simulation": {"seed": seed}}), folder))
    return Run(
        method=row.method,
        federation=described,
        schedule=row.schedule or experiment.schedule,
        dtype=row.dtype or experiment.dtype,
    )


def trials(run: Run, rates: Sequence[float], length: float) -> dict[float, Run]:
    """The runs that choose a learning rate: a share of the rounds, a seed of their own, scored on validation examples."""
    described = run.federation
    held_out = str(Path(described.data.held_out).with_name(VALIDATION))
    shorter = replace(
        described,
        data=replace(described.data, held_out=held_out),
        rounds=replace(described.rounds, total=max(1, int((described.rounds.total or 1) * length))),
        simulation=replace(described.simulation, seed=SEARCH_SEED),
    )
    return {rate: at_rate(replace(run, federation=shorter), rate) for rate in rates}


def at_rate(run: Run, rate: float) -> Run:
    """The same run with another learning rate."""
    training = replace(run.federation.training, lr=rate)
    return replace(run, federation=replace(run.federation, training=training))


def merged(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some of them changed; a table that says of which kind it is takes the other's place."""
    out = dict(plain)
    for key, value in changes.items():
        mixed = isinstance(value, dict) and isinstance(out.get(key), dict) and not value.keys() & {"kind", "by"}
        out[key] = merged(out[key], value) if mixed else value
    return out


def located(plain: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose paths, relative to a folder there, are relative to the working directory; a support of "" is none."""

    def here(path: str) -> str:
        return os.path.relpath(folder / path)

    model, data = plain["model"], plain["data"]
    places = {"base": here(model["base"]), "support": here(model["support"]) if model.get("support") else None}
    return merged(plain, {"model": places, "data": {key: here(data[key]) for key in ("train", "held_out")}})


def every(experiments: Sequence[Experiment]) -> Iterator[tuple[Experiment, Row, int]]:
    """What to run, in order: an experiment's first seed for all rows, then its second."""
    for experiment in experiments:
        most = max(len(row.seeds or experiment.seeds) for row in experiment.rows)
        for turn in range(most):
            for row in experiment.rows:
                yield from ((experiment, row, seed) for seed in (row.seeds or experiment.seeds)[turn : turn + 1])


_EXPERIMENT = TypeAdapter(Experiment)
