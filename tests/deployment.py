"""The files of a deployment as the tools of their users read them: Compose and kubectl, of the development environment."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from tests.pages import ROOT

DEPLOY = ROOT / "deploy"
OVERLAYS = DEPLOY / "kubernetes" / "overlays"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def tool(name: str, *arguments: str | Path) -> str:
    """Run a tool that was installed beside Python, in the project's folder."""
    program = Path(sys.executable).parent / name
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@cache
def compose() -> dict:
    """docker-compose.yml, complete: anchors merged, variables replaced, the operator's services included."""
    return json.loads(tool("docker-compose", "--profile", "*", "config", "--format", "json"))


@cache
def manifests(overlay: str) -> tuple[dict, ...]:
    """What an overlay gives to a cluster."""
    return built(OVERLAYS / overlay)


def built(kustomization: Path) -> tuple[dict, ...]:
    """What kustomize makes of a folder."""
    return tuple(yaml.safe_load_all(tool("kubectl", "kustomize", kustomization)))


def with_component(overlay: str, component: str, folder: Path) -> tuple[dict, ...]:
    """What an overlay of one's own gives to a cluster, in a folder: one of those here with one more component."""
    places = {"resources": OVERLAYS / overlay, "components": OVERLAYS.parent / "components" / component}
    own = {key: [os.path.relpath(path, folder.resolve())] for key, path in places.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return built(folder)


def of_kind(overlay: str, *kinds: str) -> Iterator[dict]:
    return (manifest for manifest in manifests(overlay) if manifest["kind"] in kinds)


def pods(overlay: str) -> Iterator[tuple[str, str, dict]]:
    """Kind, name and pod template of whatever runs containers."""
    for manifest in of_kind(overlay, "Deployment", "StatefulSet", "Job"):
        yield manifest["kind"], manifest["metadata"]["name"], manifest["spec"]["template"]
    for manifest in of_kind(overlay, "CronJob"):
        yield "Job", manifest["metadata"]["name"], manifest["spec"]["jobTemplate"]["spec"]["template"]


def jobs() -> set[str]:
    """The jobs of Prometheus that rules and dashboards choose series of."""
    places = [DEPLOY / "prometheus/rules/fedkseed.yml", *(DEPLOY / "grafana/dashboards").glob("*.json")]
    chosen = [one for path in places for one in re.findall(r'job=~?\\?"([a-z|-]+)\\?"', path.read_text(encoding="utf-8"))]
    return {job for one in chosen for job in one.split("|")}
