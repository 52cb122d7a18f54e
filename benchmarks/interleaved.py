"""Timing of rivals in turns: A B C, A B C, …, so that a machine's moods fall on all of them; medians are compared."""

import datetime as dt
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def medians(
    rivals: Mapping[str, Callable[[], object]], runs: int, warm_up: int = 2, settle: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Seconds that each rival takes, the median over `runs` turns after a warm-up; `settle` waits for what was only begun."""

    def timed(rival: Callable[[], object]) -> float:
        start = time.perf_counter()
        rival()
        settle()
        return time.perf_counter() - start

    return medians_told({name: partial(timed, rival) for name, rival in rivals.items()}, runs, warm_up)


def medians_told(rivals: Mapping[str, Callable[[], float]], runs: int, warm_up: int) -> dict[str, float]:
    """The same of rivals that say themselves how many seconds count."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(warm_up + runs):
        for name, rival in rivals.items():
            taken = rival()
            if turn >= warm_up:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch  # here, because processes whose size is measured import this module

    capabilities = torch.cpu.get_capabilities()
    return {
        "processor": capabilities.get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "avx512_bf16": capabilities.get("avx512_bf16", False),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_initialized() else None,
    }


def report(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print a record with the load of the machine (over 1, 5 and 15 minutes), or a table with one line per row."""
    if as_json:
        today = dt.datetime.now().astimezone().date().isoformat()
        record = {"benchmark": title, "date": today, "load": os.getloadavg(), "machine": machine(), "rows": rows}
        print(json.dumps(record, indent=1))
        return
    print(title)
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    width = max(16, *(len(cell) for line in lines for cell in line))
    for line in lines:
        print("  ".join(f"{cell:>{width}}" for cell in line))


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
