"""Journals: what a run has measured so far, so that one that was stopped goes on where it was.

A simulation is a function of what its clients measure and its evaluator scores: repeated from its beginning with what was
measured before, it comes to where it was in seconds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgpack  # type: ignore[import-untyped]

Key: TypeAlias = tuple[str | int, ...]
Plain: TypeAlias = dict[str, Any]


class Journal:
    """What was measured, by what it was measured of; kept in a file as soon as it is there.

    Args:
        path: of the file, which need not be there yet. An entry that a process was killed in is forgotten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: dict[Key, tuple[float, Plain]] = {}
        self.recalled_seconds = 0.0  # that had gone into what was not measured again
        if path.exists():
            self._read()

    def once(self, key: Key, measure: Callable[[], Plain]) -> Plain:
        """What was measured before the run was stopped, or is measured now and kept: plain values."""
        if known := self._before.get(key):
            self.recalled_seconds += known[0]
            return known[1]
        started = time.monotonic()
        plain = measure()
        self._keep(key, time.monotonic() - started, plain)
        return plain

    def remove(self) -> None:
        """Leave nothing of it, once the run has a record."""
        self._path.unlink(missing_ok=True)

    def _keep(self, key: Key, seconds: float, plain: Plain) -> None:
        with self._path.open("ab") as file:
            file.write(msgpack.packb((key, seconds, plain)))

    def _read(self) -> None:
        unpacker, whole = msgpack.Unpacker(use_list=False), 0
        unpacker.feed(self._path.read_bytes())
        for key, seconds, plain in unpacker:
            self._before[key] = seconds, plain
            whole = unpacker.tell()
        with self._path.open("r+b") as file:
            file.truncate(whole)
