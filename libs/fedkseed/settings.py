"""What a service reads from its environment: one typed object per service, read once, wrong values named at the start.

Everything about training comes with the announcements; these settings only say where things are and what this machine
may spend.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import pydantic
from pydantic import AmqpDsn, BaseModel, ConfigDict, Field, HttpUrl, RedisDsn

from fedkseed.errors import SettingError
from fedkseed.federation import EvaluationPlan, Name
from fedkseed.ram import Memory
from fedkseed.tls import Tls

PREFIX = "FEDKSEED_"
CONFIG = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True)
SECRET = Field(repr=False)  # URLs hold passwords
AmqpUrl = Annotated[AmqpDsn, SECRET]
MaybeAmqpUrl = Annotated[AmqpDsn | None, SECRET]
RedisUrl = Annotated[RedisDsn, SECRET]
MaybeRedisUrl = Annotated[RedisDsn | None, SECRET]
ManagementUrl = Annotated[HttpUrl, SECRET]
Listen = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$")]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")]
Dtype = Literal["float32", "bfloat16"]
Hours = Annotated[str, Field(pattern=r"^([01]?\d|2[0-3])-([01]?\d|2[0-4])$")]


class _Connecting(BaseModel):
    """Base of those that connect to servers, by TLS where the URLs are amqps and rediss."""

    model_config = CONFIG

    tls_ca: Path | None = None
    """file with the certificates of the authorities that servers are trusted by; those of the system without it"""
    tls_certificate: Path | None = None
    """file with a certificate for servers that ask for one"""
    tls_key: Path | None = None
    """file with its key; not needed where the certificate's file holds it"""

    @property
    def tls(self) -> Tls:
        """The three together."""
        return Tls(authority=self.tls_ca, certificate=self.tls_certificate, key=self.tls_key)


class _Environment(BaseModel):
    """Base of the settings: FEDKSEED_NAME gives `name`."""

    model_config = CONFIG

    federation: Name
    """name of the federation"""


class _ServiceEnvironment(_Environment):
    """Base of those that exchange messages."""

    amqp_url: AmqpUrl = AmqpDsn("amqp://guest:guest@127.0.0.1:5672/%2F")
    """RabbitMQ: user, password, host, port and virtual host"""


class ServiceEnvironment(_Connecting, _ServiceEnvironment):
    """Base of those that serve until they are asked to end."""

    metrics_listen: Listen | None = None
    """HOST:PORT where `/metrics`, `/healthz` and `/readyz` are answered; nobody listens without it"""
    log: Literal["text", "json"] = "text"
    """lines of the log as `text`, or as `json`, one object each"""


class AggregatorSettings(ServiceEnvironment):
    """The aggregator's environment."""

    redis_url: RedisUrl = RedisDsn("redis://127.0.0.1:6379/0")
    """Redis, which holds the ledger"""
    archive: bool = False
    """whether every update is kept in a stream, for `fedkseed forget`"""
    updates_per_minute: Annotated[int, Field(ge=1)] = 600
    """updates and evaluations taken from one sender in a minute; more are dropped unread"""
    requests_per_minute: Annotated[int, Field(ge=1)] = 60
    """the same of requests for snapshots, whose answers are large"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What a machine computes with: the base, and what may be spent on it."""

    base: str
    support: Path | None = None
    device: str | None = None
    dtype: Dtype | None = None
    threads: int | None = None
    memory: Memory = "auto"


class ComputingEnvironment(ServiceEnvironment):
    """Base of those that compute with the model."""

    base: str
    """the base model: a Hugging Face model id or a directory"""
    support: Path | None = None
    """the support.safetensors of a federation that has one"""
    device: Device | None = None
    """what to compute on, `cpu`, `cuda` or `cuda:1`; without it a GPU, where there is one that can be used"""
    dtype: Dtype | None = None
    """what to compute in, `float32` or `bfloat16`; without it bfloat16 where the device multiplies it natively"""
    threads: Annotated[int, Field(ge=1)] | None = None
    """threads to compute with; all cores without it"""
    memory: Memory = "auto"
    """working weights all in memory (`resident`) or only while they are used (`streaming`); `auto`: by the room"""

    @property
    def equipment(self) -> Equipment:
        """What this machine computes with."""
        return Equipment(**{part.name: getattr(self, part.name) for part in fields(Equipment)})


class ClientSettings(ComputingEnvironment):
    """A client's environment."""

    client_id: Name
    """this client's name; in a secured federation also its RabbitMQ user"""
    state_dir: Path = Path("fedkseed-state")
    """where the client keeps its ledger, unconfirmed updates and the log of what it sent"""
    hours: Hours | None = None
    """local hours in which training may begin, such as 20-6; always without it"""
    seed: Annotated[int, Field(ge=0)] = 0
    """root of this client's random choices"""

    @property
    def window(self) -> tuple[int, int] | None:
        """The hours as numbers: first, end."""
        if self.hours is None:
            return None
        first, end = self.hours.split("-")
        return int(first), int(end)


class EvaluatorSettings(ComputingEnvironment):
    """The evaluator's environment."""

    evaluator_id: Name = "evaluator"
    """the evaluator's name; in a secured federation also its RabbitMQ user"""
    every: Annotated[int, Field(ge=1)] = 1
    """versions between evaluations"""
    examples: Annotated[int, Field(ge=1)] | None = None
    """the first so many held-out examples; all without it"""
    rouge_examples: Annotated[int, Field(ge=0)] = 0
    """responses generated for ROUGE-L"""

    @property
    def plan(self) -> EvaluationPlan:
        """How versions are scored."""
        return EvaluationPlan(every=self.every, examples=self.examples, rouge_examples=self.rouge_examples)


class LocalSettings(_Connecting):
    """The environment of a federation on one machine."""

    amqp_url: MaybeAmqpUrl = None
    """RabbitMQ; without it, one is started"""
    redis_url: MaybeRedisUrl = None
    """Redis; without it, one is started"""
    device: Device | None = None
    """what services compute on, `cpu`, `cuda` or `cuda:1`; without it a GPU, where there is one that can be used"""
    dtype: Dtype | None = None
    """what they compute in, `float32` or `bfloat16`; without it bfloat16 where the device multiplies it natively"""
    memory: Memory = "auto"
    """working weights all in memory (`resident`) or only while they are used (`streaming`); `auto`: by the room"""

    @property
    def computing(self) -> Mapping[str, str]:
        """What of this the services that compute with the model read from their environment."""
        given = {name: getattr(self, name) for name in ("device", "dtype", "memory")}
        return {f"{PREFIX}{name.upper()}": value for name, value in given.items() if value}


class HealthSettings(BaseModel):
    """The environment of the subcommand that asks a service how it is."""

    model_config = CONFIG

    metrics_listen: Listen
    """HOST:PORT where the service answers"""


class _LedgerEnvironment(_Environment):
    """Base of those that only read and change a ledger."""

    redis_url: RedisUrl = RedisDsn("redis://127.0.0.1:6379/0")
    """Redis, which holds the ledger"""


class OperatorSettings(_Connecting, _LedgerEnvironment):
    """The environment of subcommands that read and change a ledger, and then end."""


class DeadLetterSettings(_Connecting, _ServiceEnvironment):
    """The environment of `fedkseed dead`."""


class AccessSettings(_Connecting, _ServiceEnvironment):
    """The environment of `fedkseed access`."""

    amqp_url: AmqpUrl = AmqpDsn("amqp://127.0.0.1:5672/%2F")
    """RabbitMQ as participants reach it: host, port and virtual host; user and password are left out"""
    management_url: ManagementUrl
    """RabbitMQ's management: http or https, with the operator's user and password"""


class DoctorSettings(_Connecting):
    """What `fedkseed doctor` looks at: of the services' variables, those that name something; it skips what is not set."""

    federation: Name | None = None
    """name of the federation"""
    amqp_url: MaybeAmqpUrl = None
    """RabbitMQ: user, password, host, port and virtual host"""
    redis_url: MaybeRedisUrl = None
    """Redis, which holds the ledger"""
    client_id: Name | None = None
    """look as this client: at its queues and its permissions"""
    evaluator_id: Name | None = None
    """look as this evaluator; as an aggregator without either"""
    base: str | None = None
    """the base model: a Hugging Face model id or a directory"""
    support: Path | None = None
    """the support.safetensors of a federation that has one"""
    state_dir: Path | None = None
    """where the client keeps its ledger, unconfirmed updates and the log of what it sent"""
    archive: bool | None = None
    """whether aggregators keep every update in a stream: look at it, as an aggregator or an operator"""


S = TypeVar("S", bound=BaseModel)


def read(kind: type[S], environment: Mapping[str, str], **options: str | None) -> S:
    """Read settings: each from FEDKSEED_NAME, or from the file that FEDKSEED_NAME_FILE names; a given option comes before both.

    Raises:
        SettingError: the first variable that is missing or wrong, by name.
    """
    given = {name: options.get(name) or _given(PREFIX + name.upper(), environment) for name in kind.model_fields}
    known = {name: value for name, value in given.items() if value is not None}
    try:
        return kind.model_validate(known)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        said = fault["msg"] if fault["msg"][1:2].isupper() else fault["msg"][0].lower() + fault["msg"][1:]  # URL stays
        raise SettingError(f"{PREFIX}{str(fault['loc'][0]).upper()}: {said}") from error


def _given(variable: str, environment: Mapping[str, str]) -> str | None:
    """What a variable says, or the file that stands in for it: a secret in the environment shows wherever that is listed."""
    file = environment.get(f"{variable}_FILE")
    if file is None:
        return environment.get(variable)
    if variable in environment:
        raise SettingError(f"{variable} and {variable}_FILE: give one of them")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingError(f"{variable}_FILE: {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{variable}_FILE: {file}: not text") from error
