"""What a service reads from its environment: one typed object per service, read once, wrong values named at the start.

Everything about training comes with the announcements; these settings only say where things are and what this machine
may spend.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import pydantic
from pydantic import AmqpDsn, BaseModel, ConfigDict, Field, RedisDsn

from fedkseed.errors import SettingError
from fedkseed.federation import EvaluationPlan, Name

PREFIX = "FEDKSEED_"
Listen = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$")]
Hours = Annotated[str, Field(pattern=r"^([01]?\d|2[0-3])-([01]?\d|2[0-4])$")]


class _Environment(BaseModel):
    """Base of the settings: FEDKSEED_NAME gives `name`."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    federation: Name
    """name of the federation"""


class _ServiceEnvironment(_Environment):
    """Base of those that exchange messages."""

    amqp_url: AmqpDsn = AmqpDsn("amqp://guest:guest@127.0.0.1:5672/%2F")
    """RabbitMQ: user, password, host, port and virtual host"""


class ServiceEnvironment(_ServiceEnvironment):
    """Base of those that serve until they are asked to end."""

    metrics_listen: Listen | None = None
    """HOST:PORT where `/metrics`, `/healthz` and `/readyz` are answered; nobody listens without it"""
    log: Literal["text", "json"] = "text"
    """lines of the log as `text`, or as `json`, one object each"""


class AggregatorSettings(ServiceEnvironment):
    """The aggregator's environment."""

    redis_url: RedisDsn = RedisDsn("redis://127.0.0.1:6379/0")
    """Redis, which holds the ledger"""


class ClientSettings(ServiceEnvironment):
    """A client's environment."""

    client_id: Name
    """this client's name; in a secured federation also its RabbitMQ user"""
    base: str
    """the base model: a Hugging Face model id or a directory"""
    support: Path | None = None
    """the support.safetensors of a federation that has one"""
    state_dir: Path = Path("fedkseed-state")
    """where the client keeps its ledger, unconfirmed updates and the log of what it sent"""
    threads: Annotated[int, Field(ge=1)] | None = None
    """threads to compute with; all cores without it"""
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


class EvaluatorSettings(ServiceEnvironment):
    """The evaluator's environment."""

    evaluator_id: Name = "evaluator"
    """the evaluator's name; in a secured federation also its RabbitMQ user"""
    base: str
    """the base model: a Hugging Face model id or a directory"""
    support: Path | None = None
    """the support.safetensors of a federation that has one"""
    threads: Annotated[int, Field(ge=1)] | None = None
    """threads to compute with; all cores without it"""
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


class HealthSettings(BaseModel):
    """The environment of the subcommand that asks a service how it is."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    metrics_listen: Listen
    """HOST:PORT where the service answers"""


class OperatorSettings(_Environment):
    """The environment of subcommands that read and change a ledger, and then end."""

    redis_url: RedisDsn = RedisDsn("redis://127.0.0.1:6379/0")
    """Redis, which holds the ledger"""


S = TypeVar("S", bound=BaseModel)


def read(kind: type[S], environment: Mapping[str, str]) -> S:
    """Read a service's settings.

    Raises:
        SettingError: the first variable that is missing or wrong, by name.
    """
    known = {name: environment[PREFIX + name.upper()] for name in kind.model_fields if PREFIX + name.upper() in environment}
    try:
        return kind.model_validate(known)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise SettingError(f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg'][0].lower()}{fault['msg'][1:]}") from error
