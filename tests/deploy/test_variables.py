"""Every variable that a deployment sets is one that the program reads."""

import re

import pytest

from fedkseed import settings
from tests.deployment import DEPLOY
from tests.pages import ROOT

PLACES = [ROOT / "docker-compose.yml", *(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")]
KINDS = [kind for name, kind in vars(settings).items() if name.endswith("Settings")]
KNOWN = {settings.PREFIX + field.upper() for kind in KINDS for field in kind.model_fields}


@pytest.mark.parametrize("path", PLACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_is_known(path):
    named = set(re.findall(r"FEDKSEED_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
    assert {name.removesuffix("_FILE") for name in named} <= KNOWN


def test_variables_are_found_at_all():
    assert sum("FEDKSEED_FEDERATION" in path.read_text(encoding="utf-8") for path in PLACES) >= 2
