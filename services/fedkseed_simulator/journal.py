"""The journal of a run, `metrics.jsonl`: one JSON line per fact, written as it happens."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedkseed.errors import FileError
from fedkseed_simulator.facts import (
    Fact,
    IncidentHappened,
    RoundClosed,
    RoundExtended,
    Scored,
    TrainingOver,
    UpdateDecided,
)


def row(fact: Fact) -> dict[str, Any]:
    """One fact as plain values; times are virtual seconds."""
    match fact:
        case UpdateDecided(at_seconds=at, receipt=receipt, loss=loss):
            told = {"client": receipt.client, "base": receipt.base, "outcome": receipt.outcome, "staleness": receipt.staleness}
            return {"event": "update", "at": at, **told, "weight": receipt.weight, "loss": loss}
        case RoundClosed(opened_seconds=opened, closed_seconds=closed, commit=commit, loss=loss):
            members = [member.client for member in commit.members]
            kept = {"version": commit.version, "kind": commit.kind, "opened": opened, "members": members, "loss": loss}
            return {"event": "commit", "at": closed, **kept, "state": commit.state.hex()}
        case RoundExtended(at_seconds=at, version=version, attempt=attempt):
            return {"event": "extended", "at": at, "version": version, "attempt": attempt}
        case Scored(at_seconds=at, version=version, metrics=metrics, examples=examples):
            return {"event": "score", "at": at, "version": version, **metrics, "examples": examples}
        case TrainingOver(at_seconds=at, version=version):
            return {"event": "over", "at": at, "version": version}
        case IncidentHappened(at_seconds=at, incident=incident):
            return {"event": incident.kind, "at": at, "who": incident.who}


class Journal:
    """Appends facts to a file that takes its final name when the run is complete, and goes when the run fails.

    Raises:
        FileError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> Self:
        try:
            self._file = self._partial.open("w", encoding="utf-8")
        except OSError as error:
            raise FileError(f"{self._partial}: {error.strerror}") from error
        return self

    def write(self, fact: Fact) -> None:
        """Append one fact; what is no number in JSON becomes null."""
        plain = {name: _number(value) for name, value in row(fact).items()}
        self._file.write(json.dumps(plain) + "\n")
        self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        try:
            if kind is None:
                self._partial.replace(self._path)
        except OSError as failure:
            raise FileError(f"{self._path}: {failure.strerror}") from failure
        finally:
            self._partial.unlink(missing_ok=True)


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
