"""Rights at Redis: exactly what the ledger's modules ask for."""

import re
from pathlib import Path

from fedkseed import ledger
from fedkseed.ledger.rights import COMMANDS

OF_CONNECTIONS = {"ping", "select"}


def test_every_command_of_the_ledger_is_allowed_and_no_other():
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(ledger.__file__).parent.glob("*.py"))
    asked = {word.lower() for word in re.findall(r'\("([A-Z]{2,})",', sources)}
    spoken = {word.lower() for word in re.findall(r'"(HGETALL|GET|MGET)"', sources)}
    assert set(COMMANDS) == asked | spoken | OF_CONNECTIONS
