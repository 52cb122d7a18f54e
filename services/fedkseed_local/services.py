"""The services of the command `fedkseed` as child processes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedkseed_local.program import Program


def service(arguments: Sequence[str], log: Path, environment: Mapping[str, str], threads: int = 1) -> Program:
    """A service, not started yet.

    Args:
        arguments: of the command.
        log: see Program.
        environment: FEDKSEED_* variables; paths in them must be absolute.
        threads: to compute with. More of them than cores, over all processes, cost several times what they should bring.
    """
    computing = {"FEDKSEED_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    return Program([sys.executable, "-m", "fedkseed_cli", *arguments], log, {**computing, **environment})
