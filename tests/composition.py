"""What Compose does with docker-compose.yml, done with processes: order, health, restarts, one-shots, the end.

Our own services are what `tests.containers` makes of the file. RabbitMQ, Redis, its exporter and Prometheus are packages of
this machine, with the configuration of the file, on ports of their own. Grafana is not started.
"""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from fedkseed_local.program import Program, find
from fedkseed_local.servers import LOOPBACK, RabbitServer
from tests.composed import Service
from tests.containers import SYSTEM, Container, Streets
from tests.images import Image, image
from tests.processes import until

NOT_STARTED = {"grafana"}  # there is no package of it
SECONDS = 1800.0  # for all of it, on a machine that is busy with something else
STARTS = 3  # more of them are a loop


class Broker(Container):
    """RabbitMQ, with the settings and plugins of the file, and a node of its own."""

    def made(self) -> Program:
        lines = self.place("/etc/rabbitmq/rabbitmq.conf").read_text(encoding="utf-8").splitlines()
        settings = dict(line.split(" = ", 1) for line in lines if line[:1] not in ("", "#"))
        for plugin, port in (("management", 15672), ("prometheus", 15692)):
            settings |= {f"{plugin}.tcp.ip": LOOPBACK, f"{plugin}.tcp.port": self.address(port).partition(":")[2]}
        plugins = self.place("/etc/rabbitmq/enabled_plugins").read_text(encoding="utf-8").strip("[]. \n").split(",")
        settings["listeners.tcp.1"] = self.address(5672)
        server = RabbitServer(self.place("/var/lib/rabbitmq"), tuple(plugins), settings)
        server.port = int(self.address(5672).partition(":")[2])
        self.environment = {**server.environment, "PATH": f"/usr/lib/rabbitmq/bin:{SYSTEM}"}
        return server


class Store(Container):
    """Redis, with the configuration and users of the file."""

    def made(self) -> Program:
        port = self.address(6379).partition(":")[2]
        shown = self.place("/usr/local/bin/redis-cli")  # one that knows the port
        shown.parent.mkdir(parents=True)
        shown.write_text(f'#!/bin/sh\nPATH={SYSTEM} exec redis-cli -p {port} "$@"\n', encoding="utf-8")
        shown.chmod(0o755)
        self.environment = {"PATH": f"{shown.parent}:{SYSTEM}"}
        return Program([*self.words, "--bind", LOOPBACK, "--port", port], self.log, self.environment)


class Exporter(Container):
    """The exporter of Redis; it ends by the signal, and holds nothing."""

    def made(self) -> Program:
        self.environment |= {"PATH": SYSTEM}
        return Program([find("prometheus-redis-exporter")], self.log, self.environment)


class Watcher(Container):
    """Prometheus, with the configuration and rules of the file; addresses stand in it where names are."""

    def made(self) -> Program:
        self.environment = {"PATH": SYSTEM}
        command = ["prometheus", *self.words, f"--web.listen-address={self.address(9090)}"]
        return Program(command, self.log, self.environment)

    def introduce(self, replicas: Mapping[str, list[Container]]) -> None:
        """Tell it where everybody is; the rest of its configuration stays as it is."""
        path = self.place("/etc/prometheus/prometheus.yml")
        configuration = yaml.safe_load(path.read_text(encoding="utf-8"))
        configuration["rule_files"] = [self.here(rules) for rules in configuration["rule_files"]]
        for job in configuration["scrape_configs"]:
            asked = [(name, dns["port"]) for dns in job.pop("dns_sd_configs", ()) for name in dns["names"]]
            for static in job.pop("static_configs", ()):
                asked += [(name, int(port)) for name, port in (target.split(":") for target in static["targets"])]
            job["static_configs"] = [{"targets": [one.address(port) for name, port in asked for one in replicas[name]]}]
        path.write_text(yaml.safe_dump(configuration), encoding="utf-8")


KINDS: Mapping[str, type[Container]] = {
    "rabbitmq": Broker,
    "redis": Store,
    "redis-exporter": Exporter,
    "prometheus": Watcher,
}


class Composition:
    """Everybody of the file.

    Args:
        services: of the file.
        folder: for the file systems of all containers, and volumes; must exist.
    """

    def __init__(self, services: Mapping[str, Service], folder: Path) -> None:
        self._services, self._folder, self.volumes = services, folder, folder / "volumes"
        self.volumes.mkdir()
        self._streets = Streets(services.values())
        self.replicas = {
            name: [self._make(f"{name}-{i + 1}" if service.replicas > 1 else name, service) for i in range(service.replicas)]
            for name, service in services.items()
            if name not in NOT_STARTED and not service.only_when_asked
        }
        (prometheus,) = self.replicas["prometheus"]
        assert isinstance(prometheus, Watcher)
        prometheus.introduce(self.replicas)
        self._healthy: set[str] = set()

    @property
    def containers(self) -> dict[str, Container]:
        """By name, without those that are run when asked."""
        return {container.name: container for containers in self.replicas.values() for container in containers}

    def until(self, true: Callable[[], bool]) -> None:
        """Keep everybody running until a condition holds."""

        def looked() -> bool:
            self._tend()
            return true()

        until(looked, SECONDS)

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Do what `docker compose run --rm NAME COMMAND` does."""
        once = self._make(f"{name}-run-{len(list(self._folder.iterdir()))}", replace(self._services[name], command=command))
        return once.run(*once.words)

    def stop(self, *names: str) -> dict[str, int | None]:
        """Ask containers to end, one after the other; their exit codes."""
        return {name: self.containers[name].program.stop() for name in names}

    def kill(self) -> None:
        """End whatever runs."""
        for container in self.containers.values():
            container.program.kill()

    def _make(self, name: str, service: Service) -> Container:
        kind = KINDS.get(service.name, Container)
        made = image(service.stage) if service.stage else Image()
        return kind(name, service, image=made, folder=self._folder / name, volumes=self.volumes, streets=self._streets)

    def _tend(self) -> None:
        """Start whoever may start, and start again whoever must."""
        for container in self.containers.values():
            assert container.starts <= STARTS, f"{container.name} ends again and again: {container.program.last_words()}"
            failed = container.service.restart == "no" and container.code
            assert not failed, f"{container.name} ended with code {container.code}: {container.program.last_words()}"
            if container.comes_back or (not container.starts and all(map(self._holds, container.service.needs.items()))):
                container.start()

    def _holds(self, need: tuple[str, str]) -> bool:
        name, condition = need
        if condition == "service_completed_successfully":
            return all(container.code == 0 for container in self.replicas[name])
        return all(self._is_healthy(container) for container in self.replicas[name])

    def _is_healthy(self, container: Container) -> bool:
        if container.name not in self._healthy and container.starts and container.look().returncode == 0:
            self._healthy.add(container.name)
        return container.name in self._healthy
