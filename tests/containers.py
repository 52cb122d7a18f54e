"""Containers without an engine: a process for each, in a folder that stands for its file system.

What the file says reaches the process as written, but for two replacements (`Container.here`): an absolute path is the same
path below the container's folder, and HOST:PORT, of itself or of a service on a network of its own, is a port of this
machine's loopback interface. A process has the variables of its image and of the file, LANG, which the image of Python sets,
and PYTHONPATH: the code, which an image holds, is the one that is tested.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from fedkseed_local.program import SERVERS, Program
from fedkseed_local.servers import LOOPBACK, free_port
from tests.composed import Mount, Service
from tests.images import Image
from tests.pages import ROOT

GIVEN = {"LANG": "C.UTF-8", "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}"}
PROGRAMS = Path("/opt/fedkseed")  # where an image has its Python
SYSTEM = os.pathsep.join((*os.defpath.split(os.pathsep), *SERVERS))  # what $PATH is
ITSELF = ("0.0.0.0", LOOPBACK)
ADDRESS = re.compile(r"(?<![\w.-])([a-z0-9][a-z0-9.-]*):(\d+)(?![\w@])")
ABSOLUTE = re.compile(r"(?<![^\s=:])/(?!dev/null)(?=\w)")


class Streets:
    """Which port of this machine is the port of a container, and who knows whom.

    Args:
        services: of the file.
    """

    def __init__(self, services: Iterable[Service]) -> None:
        self._networks = {service.name: service.networks for service in services}
        self.ports: dict[tuple[str, int], int] = {}

    def address(self, container: str, port: int) -> str:
        """HOST:PORT of a container's port."""
        return f"{LOOPBACK}:{self.ports.setdefault((container, port), free_port())}"

    def met(self, service: str, other: str) -> bool:
        """Whether a name is one of the file; one that does not share a network with the service is an error."""
        if other not in self._networks:
            return False
        assert self._networks[service] & self._networks[other], f"{service} does not know {other}: they share no network"
        return True


class Container:
    """One of a service's containers.

    Args:
        name: its own; that of the service, where there is only one.
        service: what the file says.
        image: what its image says.
        folder: for its file system, which is laid out here, and its log.
        volumes: a folder with the volumes of all containers.
        streets: where others are.
    """

    def __init__(self, name: str, service: Service, *, image: Image, folder: Path, volumes: Path, streets: Streets) -> None:
        self.name, self.service, self.folder, self._streets = name, service, folder, streets
        variables = image.environment | dict(service.environment)
        self.environment = {key: self.here(value).replace("$PATH", SYSTEM) for key, value in variables.items()} | GIVEN
        entry = image.entrypoint if service.entrypoint is None else service.entrypoint
        default = image.command if service.entrypoint is None else ()
        self.words = tuple(self.here(word) for word in (*entry, *(default if service.command is None else service.command)))
        self.log = self.place(image.folder) / "log"
        self._lay_out(image, volumes)
        self.program = self.made()
        self.laid_out = self.contents()
        self.starts = 0

    def made(self) -> Program:
        """The program of its words; a server of another image adds what is private here."""
        return Program(self.words, self.log, self.environment)

    def place(self, path: str) -> Path:
        """Where a path of the container is."""
        return self.folder / path.lstrip("/")

    def here(self, text: str) -> str:
        """What a text of the file is on this machine."""
        return ADDRESS.sub(self._address, ABSOLUTE.sub(f"{self.folder}/", text))

    def address(self, port: int) -> str:
        """HOST:PORT of one of its ports."""
        return self._streets.address(self.name, port)

    def start(self) -> None:
        """Start it, for the first time or again."""
        self.starts += 1
        self.program.start()

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs, and before."""
        return self.program.code if self.starts else None

    @property
    def comes_back(self) -> bool:
        """Whether it has ended and its restart policy has it started again."""
        policy = self.service.restart
        return self.code is not None and (policy == "unless-stopped" or (policy == "on-failure" and self.code != 0))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Have a program of its file system run to its end, with its variables."""
        folder, variables = self.log.parent, self.environment
        return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)

    def look(self) -> subprocess.CompletedProcess[str]:
        """Do the health check as it is written, once."""
        kind, *words = map(self.here, self.service.check)
        return self.run(*words) if kind == "CMD" else self.run("sh", "-c", *words)

    def contents(self) -> set[str]:
        """The files that are in its file system and in no volume."""
        kept = tuple(self.place(place) for place in self.service.scratch)
        found = (Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        return {str(path.relative_to(self.folder)) for path in found if not any(path.is_relative_to(place) for place in kept)}

    def _address(self, found: re.Match[str]) -> str:
        host, port = found[1], int(found[2])
        if host in ITSELF:
            return self._streets.address(self.name, port)
        return self._streets.address(host, port) if self._streets.met(self.service.name, host) else found[0]

    def _lay_out(self, image: Image, volumes: Path) -> None:
        """Make its file system: what the image has, scratch space, volumes, files."""
        for path in (image.folder, *self.service.scratch):
            self.place(path).mkdir(parents=True, exist_ok=True)
        if self.service.stage:
            _link(self.place(str(PROGRAMS)), Path(sys.prefix))
        for source, target in image.copied:
            shutil.copytree(ROOT / source, self.place(target), ignore=shutil.ignore_patterns("__pycache__"))
        for mount in self.service.mounts:
            self._mount(mount, volumes)
        for secret in self.service.secrets:
            self._write(self.place(secret.target), secret)

    def _mount(self, mount: Mount, volumes: Path) -> None:
        target = self.place(mount.target)
        if isinstance(mount.source, str):
            (volumes / mount.source).mkdir(exist_ok=True)
            _link(target, volumes / mount.source)
        elif mount.source.is_dir():
            shutil.copytree(mount.source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            self._write(target, mount)

    def _write(self, target: Path, mount: Mount) -> None:
        """A file, which may name paths and hosts."""
        assert isinstance(mount.source, Path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.here(mount.source.read_text(encoding="utf-8")), encoding="utf-8")


def _link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to, target_is_directory=True)
