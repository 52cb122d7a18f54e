"""What a federation is: its model, seed pool, objective and policy, as `federation.toml` states them.

Every section is a frozen dataclass; pydantic checks types, ranges and unknown keys, and `load` turns what it finds
into one line that names the setting.
"""

import difflib
import json
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from fedkseed import files
from fedkseed.errors import SettingError

T = TypeVar("T")


def _listed(value: Any) -> Any:
    """A list where a command line gave it as JSON."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Names = Annotated[tuple[Name, ...], pydantic.BeforeValidator(_listed), Field(max_length=64)]
Family = Literal["hadamard", "rademacher", "gaussian"]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Attack = Literal["huge", "nan", "sign-flip", "constant", "scaled"]
MAX_POOL_SIZE = 65536  # a seed index travels as u16
MAX_BATCH = 65536
MAX_FILE = 1 << 20  # bytes of a federation.toml


class _Checked:
    """Base of every settings class: unknown keys are refused."""

    __slots__ = ()
    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(_Checked):
    """The seed pool: K directions named by (family, size, seed)."""

    family: Family = "hadamard"
    size: Annotated[int, Field(ge=1, le=MAX_POOL_SIZE)] = 4096  # K
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0

    def __post_init__(self) -> None:
        """Refuse a structured pool whose size has no Hadamard matrix here."""
        if self.family == "hadamard" and (self.size < 128 or self.size & (self.size - 1)):
            raise ValueError(f"size must be a power of two from 128 to 65536 for family 'hadamard', not {self.size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelWords(_Checked):
    """Classification as the next word after a prompt: cross-entropy over the label words only (MeZO, 2023)."""

    kind: Literal["label-words"]
    template: str = "{text} It was"
    words: Annotated[tuple[str, ...], Field(min_length=2)]  # words[label]; a leading space where the tokenizer wants it
    max_tokens: PositiveInt = 1024

    def __post_init__(self) -> None:
        """Refuse a template that does not read the example."""
        if "{text}" not in self.template:
            raise ValueError("template must contain {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(_Checked):
    """Language-model loss on the response only, the prompt masked."""

    kind: Literal["response"]
    template: str = "chat"  # "chat": the tokenizer's chat template; otherwise text that contains {prompt}, before the response
    max_tokens: Annotated[int, Field(ge=2)] = 1024  # prompt and response need one each

    def __post_init__(self) -> None:
        """Refuse a template that does not read the prompt."""
        if self.template != "chat" and "{prompt}" not in self.template:
            raise ValueError("template must be 'chat' or contain {prompt}")


Objective = Annotated[LabelWords | Response, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(_Checked):
    """The base model, and the part of it that is trained."""

    base: str  # a Hugging Face model id or a local directory
    support: str | None = None  # a support.safetensors; all parameters without it


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(_Checked):
    """Hyper-parameters of the clients' local steps (Qin et al. 2024, Algorithm 1)."""

    steps: Annotated[int, Field(ge=1, le=65536)] = 200  # tau
    directions_per_batch: PositiveInt = 1  # 1: two-sided differences; more share one loss at the unperturbed weights
    eps: PositiveFloat = 5e-4
    lr: PositiveFloat = 3e-7  # eta
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    importance: bool = False  # FedKSeed-Pro: draw important seeds more often

    def __post_init__(self) -> None:
        """Refuse steps that would leave a batch with fewer directions than others."""
        if self.steps % self.directions_per_batch:
            raise ValueError(f"steps ({self.steps}) must be a multiple of directions_per_batch ({self.directions_per_batch})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(_Checked):
    """Training ends once an evaluation reaches a value."""

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        """Refuse a target without exactly one bound."""
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a target needs exactly one of at_most and at_least")

    def reached(self, value: float) -> bool:
        """Say whether a score meets the target."""
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds(_Checked):
    """When a round closes, which updates it takes, and when training ends."""

    cohort: PositiveInt = 10  # updates that close a round (FedBuff's buffer)
    minimum: PositiveInt = 1  # enough to close at the deadline
    deadline_seconds: PositiveFloat = 3600.0
    max_staleness: Annotated[int, Field(ge=0, le=1024)] = 0  # 0 is synchronous
    staleness_law: Literal["constant", "polynomial", "hinge"] = "constant"
    staleness_exponent: PositiveFloat = 0.5  # a of `polynomial` and `hinge`
    staleness_bound: Count = 0  # b of `hinge`
    participation: Annotated[float, Field(gt=0, le=1)] = 1.0
    total: PositiveInt | None = None  # commits after which training is over
    target: Target | None = None
    evaluators: Names = ("evaluator",)  # whose scores count

    def __post_init__(self) -> None:
        """Refuse a minimum that no cohort reaches."""
        if self.minimum > self.cohort:
            raise ValueError(f"minimum ({self.minimum}) must not exceed cohort ({self.cohort})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Robust(_Checked):
    """Folding that bears hostile clients: bounds in multiples of running medians, and a watch on who disagrees."""

    clip: PositiveFloat = 8.0  # a scalar counts for at most so many median absolute deviations
    norm: PositiveFloat = 3.0  # an update's norm is scaled down to so many median norms
    weight: PositiveFloat = 4.0  # a client weighs as if it held at most so many times the median number of examples
    allowance: Annotated[float, Field(gt=-1, lt=1)] = 0.0  # agreement per pair below which suspicion grows
    quarantine: PositiveFloat = 256.0  # suspicion, in pairs, that excludes a client


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(_Checked):
    """What may change while a federation runs; every commit records the policy it was made under."""

    training: Training = field(default_factory=Training)
    rounds: Rounds = field(default_factory=Rounds)
    robust: Robust | None = None  # the paper's folding without it


@dataclass(frozen=True, slots=True, kw_only=True)
class ByField(_Checked):
    """One client per value of a field: a person, a role, a site."""

    by: Literal["field"]
    field: str
    clients: PositiveInt | None = None  # the most active ones; every value without it
    at_most: PositiveInt | None = None  # examples kept of each client


@dataclass(frozen=True, slots=True, kw_only=True)
class ByDirichlet(_Checked):
    """Label skew drawn from Dirichlet(alpha) per label (Hsu et al. 2019): the smaller alpha, the more skewed."""

    by: Literal["dirichlet"]
    clients: PositiveInt
    alpha: PositiveFloat
    seed: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ByChance(_Checked):
    """Independent and identically distributed: examples dealt out at random."""

    by: Literal["iid"]
    clients: PositiveInt
    seed: Count = 0


Partition = Annotated[ByField | ByDirichlet | ByChance, Field(discriminator="by")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data(_Checked):
    """Where examples come from: JSON Lines files or Hugging Face `datasets` directories."""

    train: str
    held_out: str
    partition: Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan(_Checked):
    """How versions are scored on held-out data."""

    every: PositiveInt = 1  # versions between evaluations; the first and the last are always scored
    examples: PositiveInt | None = None  # the first so many of the held-out file; all without it
    batch: PositiveInt = 16
    rouge_examples: Count = 0  # responses generated for ROUGE-L; 0 leaves it out
    rouge_tokens: PositiveInt = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds(_Checked):
    """How slow clients are: a factor on `step_seconds`, drawn once per client."""

    law: Literal["constant", "log-normal", "pareto"] = "constant"
    spread: PositiveFloat = 1.0  # sigma of log-normal, shape of Pareto (the smaller, the heavier its tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(_Checked):
    """What happens to messages between participants."""

    latency_seconds: Annotated[float, Field(ge=0)] = 0.0
    jitter_seconds: Annotated[float, Field(ge=0)] = 0.0  # uniform, on top; more than the gap of two messages reorders them
    lost: Fraction = 0.0
    duplicated: Fraction = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(_Checked):
    """Something that happens to one participant at a virtual time."""

    at_seconds: Annotated[float, Field(ge=0)]
    kind: Literal["join", "leave", "restart"]
    who: str  # a client's name, or "aggregator" for a restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile(_Checked):
    """A client that sends something else than it measured."""

    who: str
    attack: Attack
    factor: PositiveFloat = 10.0  # of `scaled`; of `constant`, the value itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation(_Checked):
    """The circumstances of a federation in one process under a virtual clock."""

    seed: Count = 0
    step_seconds: PositiveFloat = 1.0  # virtual time of two forward passes of a batch at speed factor 1
    speeds: Speeds = field(default_factory=Speeds)
    network: Network = field(default_factory=Network)
    dropout: Fraction = 0.0  # chance that a client, invited to a round, is gone for that round
    incidents: tuple[Incident, ...] = ()
    hostile: tuple[Hostile, ...] = ()
    until_seconds: PositiveFloat | None = None  # virtual time after which the run ends in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation(_Checked):
    """One federation as `federation.toml` describes it."""

    name: Name
    model: Model
    objective: Objective
    data: Data
    pool: Pool = field(default_factory=Pool)
    training: Training = field(default_factory=Training)
    rounds: Rounds = field(default_factory=Rounds)
    robust: Robust | None = None
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)
    simulation: Simulation = field(default_factory=Simulation)

    @property
    def policy(self) -> Policy:
        """The part of the settings that travels with rounds and may change."""
        return Policy(training=self.training, rounds=self.rounds, robust=self.robust)


def load(path: Path) -> Federation:
    """Read a federation from a TOML file; paths in it are relative to that file.

    A `model.base` that is no directory there stays what it is: the id of a model.

    Raises:
        FileError: the file cannot be read.
        SettingError: it is not TOML, or a setting is unknown, missing or out of range.
    """
    data = files.read(path, MAX_FILE)
    try:
        return _located(parse(tomllib.loads(data.decode())), path.parent)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingError(f"{path}: not TOML: {error}") from error
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def parse(settings: dict[str, Any]) -> Federation:
    """Check settings as read from TOML.

    Raises:
        SettingError: the first setting at fault, named.
    """
    return _checked(_ADAPTER, settings)


def parse_policy(settings: dict[str, Any]) -> Policy:
    """Check the sections `training`, `rounds` and `robust` alone.

    Raises:
        SettingError: the first setting at fault, named.
    """
    return _checked(_POLICY, settings)


def _checked(adapter: TypeAdapter[T], settings: dict[str, Any]) -> T:
    """Let pydantic check settings; a key that is unknown explains more than what is missing because of it."""
    try:
        return adapter.validate_python(settings)
    except pydantic.ValidationError as error:
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "unexpected_keyword_argument")
        raise SettingError(_sentence(faults[0])) from error


def _located(federation: Federation, folder: Path) -> Federation:
    """Make paths relative to a folder into paths."""
    model, data = federation.model, federation.data
    base = str(folder / model.base) if (folder / model.base).is_dir() else model.base
    support = model.support and str(folder / model.support)
    data = replace(data, train=str(folder / data.train), held_out=str(folder / data.held_out))
    return replace(federation, model=replace(model, base=base, support=support), data=data)


_ADAPTER, _POLICY = TypeAdapter(Federation), TypeAdapter(Policy)
_DATA, _POLICIES = (Data, ByField, ByDirichlet, ByChance), (Training, Rounds, Target, Robust)
_SECTIONS = (Federation, Model, LabelWords, Response, *_DATA, Pool, *_POLICIES, EvaluationPlan)
_NAMES = {f.name for section in (*_SECTIONS, Simulation, Speeds, Network, Incident, Hostile) for f in fields(section)}
_TAGS = {"label-words", "response", "field", "dirichlet", "iid"}  # pydantic puts the tag of a union into the path


def _sentence(fault: Any) -> str:
    """Turn one pydantic error into a line that names the setting."""
    where = ".".join(str(part) for part in fault["loc"] if part not in _TAGS)
    if fault["type"] == "unexpected_keyword_argument":
        close = difflib.get_close_matches(str(fault["loc"][-1]), _NAMES - {fault["loc"][-1]}, n=1)
        return f"{where}: unknown setting" + (f"; did you mean {close[0]}?" if close else "")
    if fault["type"] == "missing":
        return f"{where}: missing"
    if fault["type"] == "value_error":
        return f"{where}: {fault['ctx']['error']}"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {fault['input']!r}"
