"""deploy/Dockerfile: what its linter says, and that it is in step with the project."""

import re

from tests.deployment import DEPLOY, VERSION, tool
from tests.pages import ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_linter_has_nothing_to_say():
    assert tool("hadolint", "--no-color", DEPLOY / "Dockerfile") == ""


def test_the_base_is_pinned_by_its_full_tag():
    assert re.search(r"^ARG PYTHON=python:3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)


def test_the_label_has_the_version():
    assert f'org.opencontainers.image.version="{VERSION}"' in DOCKERFILE


def test_whatever_is_copied_is_let_through():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_images_run_as_nobody():
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["10001:10001"]
