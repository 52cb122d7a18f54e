"""docker-compose.yml as what is to be started: every key of a service is carried out, or on a list that says why not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CARRIED_OUT = {
    "build",  # the settings of the image's target; it is not built
    "command",
    "depends_on",
    "deploy",
    "entrypoint",
    "environment",
    "healthcheck",
    "mem_limit",  # compared with what a process has taken
    "networks",  # who knows whose name; not who reaches whom
    "pids_limit",  # compared with how many threads a process has
    "profiles",
    "read_only",  # looked for what was written; nothing stops it
    "restart",
    "secrets",
    "tmpfs",  # folders of their own, of any size
    "volumes",
}
NOT_CARRIED_OUT = {
    "cap_drop": "a process has the rights of whoever runs the tests",
    "cpus": "processes share the machine's cores",
    "hostname": "RabbitMQ's node is named after localhost",
    "image": "packages of this machine's system stand in for the images of servers, the code itself for our own",
    "logging": "what a process says goes to a file",
    "ports": "every port is one of this machine's loopback interface",
    "security_opt": "see cap_drop",
    "stop_grace_period": "a minute for everybody, on a machine that may be busy",
    "user": "a process runs as whoever runs the tests",
}
CHECK = {"test", "disable"}
CHECK_TIMES = {"interval", "timeout", "retries", "start_period", "start_interval"}  # a busy machine would fail by them
CONDITIONS = {"service_healthy", "service_completed_successfully"}
POLICIES = {"no", "on-failure", "unless-stopped"}


class NotCarriedOutError(Exception):
    """The file says something that would be ignored in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """What is at a path of a container."""

    target: str
    source: Path | str  # a path of the repository, or the name of a volume
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one container, or each of several, is."""

    name: str
    stage: str | None  # of the Dockerfile; None for an image from elsewhere
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    check: tuple[str, ...]  # CMD and words, or CMD-SHELL and a line; empty for none
    restart: str
    needs: Mapping[str, str]  # conditions, by service
    replicas: int
    mounts: tuple[Mount, ...]
    secrets: tuple[Mount, ...]
    scratch: tuple[str, ...]
    networks: frozenset[str]
    memory_bytes: int
    threads: int
    only_when_asked: bool


def read(composed: Mapping[str, Any]) -> dict[str, Service]:
    """Read what Compose makes of the file (`tests.deployment.compose`).

    Raises:
        NotCarriedOutError: it says something that nobody here knows.
    """
    told = {key for key in composed if not key.startswith("x-")}  # those are merged into what refers to them
    _known("the file", told, {"name", "services", "networks", "volumes", "secrets"})
    files = {name: Path(_only("a secret", secret, "name", "file")["file"]) for name, secret in composed["secrets"].items()}
    for name, volume in composed["volumes"].items():
        _known(f"volume {name}", volume, {"name"})
    return {name: service(name, said, files) for name, said in composed["services"].items()}


def service(name: str, said: Mapping[str, Any], files: Mapping[str, Path]) -> Service:
    """Read one service.

    Raises:
        NotCarriedOutError: it has a key, or a value, that nobody here knows.
    """
    _known(name, said, CARRIED_OUT | NOT_CARRIED_OUT.keys())
    check = _only(f"{name}: healthcheck", said["healthcheck"], *CHECK, *CHECK_TIMES)
    secrets = [_only(f"{name}: a secret", secret, "source", "target") for secret in said.get("secrets", ())]
    _known(f"{name}: restart", {said["restart"]}, POLICIES)
    return Service(
        name=name,
        stage=said["build"]["target"] if "build" in said else None,
        entrypoint=_words(said["entrypoint"]),
        command=_words(said["command"]),
        environment=_environment(name, said.get("environment") or {}),
        check=() if check.get("disable") else tuple(check["test"]),
        restart=said["restart"],
        needs={other: _condition(f"{name}: {other}", need) for other, need in said.get("depends_on", {}).items()},
        replicas=_replicas(name, said.get("deploy", {})),
        mounts=tuple(_mount(name, volume) for volume in said.get("volumes", ())),
        secrets=tuple(
            Mount(target=str(Path("/run/secrets", secret["target"])), source=files[secret["source"]]) for secret in secrets
        ),
        scratch=tuple(place.partition(":")[0] for place in said["tmpfs"]),
        networks=frozenset(said["networks"]),
        memory_bytes=int(said["mem_limit"]),
        threads=said["pids_limit"],
        only_when_asked="profiles" in said,
    )


def _known(where: str, told: Collection[str], known: Collection[str]) -> None:
    if unknown := set(told) - set(known):
        raise NotCarriedOutError(f"{where}: nobody carries out {', '.join(sorted(unknown))}")


def _only(where: str, told: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    _known(where, told, known)
    return told


def _words(said: list[str] | None) -> tuple[str, ...] | None:
    return None if said is None else tuple(said)


def _environment(name: str, variables: Mapping[str, str | None]) -> Mapping[str, str]:
    if any(value is None for value in variables.values()):
        raise NotCarriedOutError(f"{name}: nobody passes variables of this machine on")
    return {key: str(value) for key, value in variables.items()}


def _condition(where: str, need: Mapping[str, Any]) -> str:
    _known(where, need, {"condition", "required"})
    _known(where, {need["condition"]}, CONDITIONS)
    if not need["required"]:
        raise NotCarriedOutError(f"{where}: nobody starts without what it needs")
    return str(need["condition"])


def _replicas(name: str, deploy: Mapping[str, Any]) -> int:
    _known(f"{name}: deploy", {key for key, value in deploy.items() if value}, {"replicas"})
    return int(deploy.get("replicas", 1))


def _mount(name: str, volume: Mapping[str, Any]) -> Mount:
    _known(f"{name}: a volume", {key for key, value in volume.items() if value}, {"type", "source", "target", "read_only"})
    _known(f"{name}: a volume", {volume["type"]}, {"bind", "volume"})
    source = Path(volume["source"]) if volume["type"] == "bind" else volume["source"]
    return Mount(target=volume["target"], source=source, writable=not volume.get("read_only", False))
