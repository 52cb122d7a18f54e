"""How much memory this process may still take, and whether weights have room in it."""

from pathlib import Path
from typing import Literal

Memory = Literal["auto", "resident", "streaming"]  # how weights are kept: see docs/training.md
SHARE = 0.75  # of the available memory that weights may take; the rest is for activations and whatever else is going on
MEMINFO, GROUP, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
LIMITS = ((GROUPS, "0::", "memory.max"), (GROUPS / "memory", ":memory:", "memory.limit_in_bytes"))  # control groups 2 and 1
TAKEN = ("anon", "shmem", "total_rss", "total_shmem")  # what cannot be given up, in the words of either


def streams(memory: Memory, *, needed_bytes: int, available_bytes: int | None) -> bool:
    """Decide whether weights are streamed.

    Args:
        memory: what was asked for.
        needed_bytes: of weights that are not streamed, their base included.
        available_bytes: see below; None: not known, then nothing is streamed that nobody asks for.
    """
    if memory != "auto":
        return memory == "streaming"
    return available_bytes is not None and needed_bytes > SHARE * available_bytes


def available_bytes() -> int | None:
    """Memory that can still be taken: by the machine, and by the control group of this process; None: not known.

    What files are cached in counts as available: it is given up when it is needed.
    """
    known = [machine(_text(MEMINFO))]
    for folder, mark, limit in LIMITS:
        own = next((line.partition(mark)[2] for line in _text(GROUP).splitlines() if mark in line), "")
        place = folder / own.lstrip("/")
        known.append(group(_text(place / limit) or _text(folder / limit), _text(place / "memory.stat")))
    return min((figure for figure in known if figure is not None), default=None)


def machine(meminfo: str) -> int | None:
    """What is available, by the text of /proc/meminfo."""
    figures = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    return int(figures["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in figures else None


def group(limit: str, stat: str) -> int | None:
    """What is available in a control group, by its limit and the text of its memory.stat; None without a limit."""
    if not limit.strip().isdigit():
        return None
    figures = dict(line.split() for line in stat.splitlines())
    return max(0, int(limit) - sum(int(figures.get(name, 0)) for name in TAKEN))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
