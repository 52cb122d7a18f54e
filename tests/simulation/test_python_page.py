"""The snippets of docs/python.md and docs/quick-start.md run, from top to bottom, on the tiny base."""

import json
from pathlib import Path

import pytest

from tests.pages import blocks, page


@pytest.fixture
def beside(tiny_base, tmp_path, monkeypatch):
    """A directory as the pages describe it: federation.toml, data, and a base."""
    rows = [json.loads(line) for block in blocks(page("quick-start.md"), "json") for line in block.splitlines()]
    text = "".join(json.dumps(row) + "\n" for row in rows * 6)
    for name in ("train.jsonl", "held_out.jsonl"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (settings,) = blocks(page("quick-start.md"), "toml")
    (tmp_path / "federation.toml").write_text(settings, encoding="utf-8")
    (tmp_path / "my-base").symlink_to(tiny_base)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside")
def test_the_snippets_run_from_top_to_bottom(capsys):
    names = {}
    for name in ("python.md", "quick-start.md"):
        for number, block in enumerate(blocks(page(name), "python"), start=1):
            exec(compile(block, f"{name}, snippet {number}", "exec"), names)
    assert names["outcome"].head.version == 10
    assert names["tuned"].weights_digest == dict(names["report"].facts)["weights digest"]
    assert Path("tuned", "config.json").exists()
    assert "federation.toml: truncated, or not a ledger artifact" in capsys.readouterr().out
