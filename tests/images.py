"""What deploy/Dockerfile says of an image: its settings, for whoever starts a program as a container of it would."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.deployment import DEPLOY

STAGE = re.compile(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
INSTRUCTION = re.compile(r"^(ENV|WORKDIR|ENTRYPOINT|CMD|COPY) +(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a container has unless it is told otherwise."""

    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    copied: tuple[tuple[str, str], ...] = ()  # from the repository, to; not what other stages have made


def image(target: str) -> Image:
    """The image of a target: instructions of its stage, and of those that it is made from."""
    environment: dict[str, str] = {}
    copied: list[tuple[str, str]] = []
    said = {"WORKDIR": "/", "ENTRYPOINT": "[]", "CMD": "[]"}
    for instruction, rest in _instructions(target):
        if instruction == "ENV":
            environment |= dict(word.split("=", 1) for word in rest.split())
        elif instruction != "COPY":
            said[instruction] = rest
        elif not rest.startswith("--from"):
            copied.append(tuple(rest.split()))
    return Image(
        environment=environment,
        folder=said["WORKDIR"],
        entrypoint=tuple(json.loads(said["ENTRYPOINT"])),
        command=tuple(json.loads(said["CMD"])),
        copied=tuple(copied),
    )


def _instructions(target: str) -> Iterator[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stages = {name: (origin, body) for origin, name, body in STAGE.findall(text)}
    origin, body = stages[target]
    if origin in stages:
        yield from _instructions(origin)
    yield from INSTRUCTION.findall(body)
