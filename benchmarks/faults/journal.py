"""What a load process writes down outside the system: every update before it is published, confirms and receipts as they come.

A life of a process is a file of its own, and only ever appended to; a record that its end cut short is not there. What was
written survives the death of the process, as a page of the kernel; the machine itself is not killed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["sent", "confirmed", "receipt"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HEAD = struct.Struct("<BdIHI")  # kind, time, base, bytes of the client's name, bytes of the body


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that happened to an update, whose identity is (client, base)."""

    kind: Kind
    at: float  # unix seconds of this machine
    client: str
    base: int
    body: bytes = b""  # the update or the receipt, as it travels


class Journal:
    """The records of one process, in a folder of its own; opening it begins a new life."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{len(lives(folder)):05}.journal").open("xb", buffering=0)

    def write(self, *records: Record) -> None:
        """Append records in one piece."""
        self._file.write(b"".join(map(_packed, records)))

    def close(self) -> None:
        """End this life."""
        self._file.close()


def lives(folder: Path) -> list[Path]:
    """The files of a process, oldest first."""
    return sorted(folder.glob("*.journal"))


def read(folder: Path) -> Iterator[Record]:
    """Everything that a process wrote down, in order."""
    for path in lives(folder):
        yield from _unpacked(path.read_bytes())


def _packed(record: Record) -> bytes:
    client = record.client.encode()
    head = HEAD.pack(KINDS.index(record.kind), record.at, record.base, len(client), len(record.body))
    return head + client + record.body


def _unpacked(data: bytes) -> Iterator[Record]:
    start = 0
    while start + HEAD.size <= len(data):
        kind, at, base, named, size = HEAD.unpack_from(data, start)
        name = start + HEAD.size
        body, end = name + named, name + named + size
        if end > len(data):
            return
        yield Record(kind=KINDS[kind], at=at, client=data[name:body].decode(), base=base, body=data[body:end])
        start = end
