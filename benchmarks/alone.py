"""A measurement in a process of its own: its memory is its own, and so is what it imports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def alone(module: str, *arguments: object) -> Any:
    """Run a benchmark's `--alone` in another process, and return what it prints as JSON."""
    command = [sys.executable, "-m", module, "--alone", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603 - ours


def size(field: str) -> float:
    """The size of this process in MiB, as a line of `/proc/self/status` has it.

    Args:
        field: `VmRSS` resident now, `VmHWM` resident at most; of what is resident now, `RssAnon` its own memory, `RssFile`
            pages of files that it has mapped. Mapped pages count as resident as long as they are there, although the system
            may take them back without asking.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kibibytes,) = (int(words[1]) for line in lines if (words := line.split())[0] == f"{field}:")
    return kibibytes / 1024
