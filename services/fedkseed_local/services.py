"""The services of the command `fedkseed` as child processes."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedkseed.settings import PREFIX
from fedkseed_local.program import Program


def service(arguments: Sequence[str], log: Path, environment: Mapping[str, str], threads: int = 1) -> Program:
    """A service, not started yet.

    Args:
        arguments: of the command.
        log: see Program.
        environment: its FEDKSEED_* variables, and no others; paths in them must be absolute.
        threads: to compute with. More of them than cores, over all processes, cost several times what they should bring.
    """
    computing = {"FEDKSEED_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return Program([sys.executable, "-m", "fedkseed_cli", *arguments], log, {**inherited, **computing, **environment})
