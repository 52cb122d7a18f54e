"""Private watchers for tests: a Prometheus, and the exporter of a Redis, on free loopback ports."""

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import yaml

from deploy.grafana.answers import Prometheus
from fedkseed_local.program import Server, find
from fedkseed_local.servers import LOOPBACK, free_port


def fetch(address: str, path: str) -> str:
    """A page of a server on this machine."""
    with urllib.request.urlopen(f"http://{address}/{path}") as answer:
        return answer.read().decode()


class PrometheusServer(Server):
    """A Prometheus that looks every second.

    Args:
        folder: for its files; must exist.
        targets: addresses, by job and instance.
        rules: a file of rules.
    """

    def __init__(self, folder: Path, targets: Mapping[str, Mapping[str, str]], rules: Path) -> None:
        self.address = f"{LOOPBACK}:{free_port()}"
        self.config = folder / "prometheus.yml"
        jobs = [
            {
                "job_name": job,
                "static_configs": [{"targets": [address], "labels": {"instance": name}} for name, address in where.items()],
            }
            for job, where in targets.items()
        ]
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        self.config.write_text(yaml.safe_dump({"global": every, "rule_files": [str(rules)], "scrape_configs": jobs}))
        options = {"config.file": self.config, "storage.tsdb.path": folder / "data", "web.listen-address": self.address}
        command = [find("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        super().__init__(command, folder / "log", {})
        self.answers = Prometheus(f"http://{self.address}")

    def ready(self) -> bool:
        return "Ready" in fetch(self.address, "-/ready")

    def rules(self) -> list[dict]:
        """Rules as they were evaluated last."""
        groups = json.loads(fetch(self.address, "api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        alerts = json.loads(fetch(self.address, "api/v1/alerts"))["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def reached(self) -> dict[str, set[str]]:
        """Instances that answered the last time, by job."""
        found: dict[str, set[str]] = {}
        for target in json.loads(fetch(self.address, "api/v1/targets"))["data"]["activeTargets"]:
            if target["health"] == "up":
                found.setdefault(target["labels"]["job"], set()).add(target["labels"]["instance"])
        return found


class RedisExporter(Server):
    """Shows what a Redis says of itself to Prometheus.

    Args:
        folder: for its log; must exist.
        redis: where Redis is.
        settings: as variables.
    """

    def __init__(self, folder: Path, redis: str, settings: Mapping[str, str] | None = None) -> None:
        self.address = f"{LOOPBACK}:{free_port()}"
        command = [find("prometheus-redis-exporter"), f"--redis.addr={redis}", f"--web.listen-address={self.address}"]
        super().__init__(command, folder / "log", settings or {})

    def ready(self) -> bool:
        return "redis_up 1" in fetch(self.address, "metrics")
