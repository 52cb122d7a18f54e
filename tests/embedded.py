"""Federations on a real, tiny model: their settings, their files, and the command that runs them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from fedkseed import federation as settings
from fedkseed.federation import Federation
from fedkseed_cli.__main__ import main

# One in ten is great: that they are few is learnt in a few steps, on any machine, whatever its roundings.
TOY = [{"text": f"w{i} w{(i * 7) % 54}", "label": int(i % 10 == 0), "who": f"p{i % 3}"} for i in range(40)]
TALK = [{"prompt": f"w{i} w{i + 1}", "response": f"w{i + 2} w{i + 3}", "who": f"p{i % 3}"} for i in range(30)]


def write_rows(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def described(base: Path, folder: Path, rows=TOY, **sections) -> dict:
    """The settings of a federation of three clients as a file would hold them, and its data; keywords change sections."""
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "held_out.jsonl", rows[:20])
    plain = {
        "model": {"base": str(base)},
        "objective": {"kind": "label-words", "words": ["terrible", "great"]},
        "pool": {"size": 128, "seed": 3},
        "training": {"lr": 2e-3, "eps": 1e-3, "steps": 16, "batch": 8},
        "rounds": {"cohort": 3, "max_staleness": 0, "total": 3},
        "data": {"train": "train.jsonl", "held_out": "held_out.jsonl", "partition": {"by": "field", "field": "who"}},
        "evaluation": {"every": 10},
    }
    for name in plain.keys() & sections.keys():
        sections[name] = sections[name] if "kind" in sections[name] else plain[name] | sections[name]
    return {"name": "toy"} | plain | sections


def write_toml(path: Path, values: dict) -> Path:
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in values.items()), encoding="utf-8")
    return path


def _toml(value) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)


def federation(base: Path, folder: Path, rows=TOY, **sections) -> Federation:
    return settings.load(write_toml(folder / "federation.toml", described(base, folder, rows, **sections)))


def on(base: Path, described: Federation) -> Federation:
    """The same federation on another base."""
    return replace(described, model=replace(described.model, base=str(base)))


def fedkseed(monkeypatch, *arguments) -> int:
    """Run the command in this process; gives its exit code."""
    monkeypatch.setattr(sys, "argv", ["fedkseed", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def refusal(monkeypatch, capsys, folder: Path, *arguments) -> tuple[int, str]:
    """Run the command where it must fail: in one line on standard error, leaving what was there; its exit code and line."""
    before = _contents(folder)
    capsys.readouterr()
    code, said = fedkseed(monkeypatch, *arguments), capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("fedkseed: ")
    assert _contents(folder) == before
    return code, said.err


def _contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
