"""A federation on one machine by one command: servers, processes, their order, and what is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedkseed.ledger import artifact
from tests.embedded import TOY, described, fedkseed, refusal, write_toml
from tests.processes import PATIENCE_SECONDS, until

ENDLESS = {"cohort": 3, "max_staleness": 0, "total": 1_000_000}


@pytest.fixture
def toml(tmp_path, tiny_base):
    """Write the file of a federation of three clients."""
    return lambda **sections: write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path, TOY, **sections))


@contextmanager
def running(toml: Path, folder: Path, *options: str) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "fedkseed_cli", "up", str(toml), "--dir", str(folder), *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()  # it ends what it has started


def children(folder: Path) -> list[str]:
    """The processes that have to do with a folder: they work in it, or below it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if (process / "cwd").resolve().is_relative_to(folder):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it has ended meanwhile
    return found


def test_a_federation_runs_to_its_end_and_goes_on_from_there(toml, tmp_path, tiny_base, monkeypatch, capsys):
    """Loss falls, the ledger is left, nothing else; a second time there is nothing to do but the same ledger."""
    path, folder = toml(rounds={"cohort": 8, "participation": 0.3, "total": 3}), tmp_path / "party"
    for _ in range(2):
        with running(path, folder, "--clients", "2") as up:
            said, complaints = up.communicate(timeout=PATIENCE_SECONDS)
        assert (up.returncode, complaints) == (0, "")
        assert "rounds.cohort is 2 here, not 8: there are 2 clients" in said
        assert "rounds.participation is 1 here, not 0.3: there are 2 clients" in said
        assert "version 3  round" in said
        left = artifact.read(folder / "ledger.safetensors")
        assert left.version == 3
        assert f"version 3, state digest {left.state.hex()}" in said
        loss = {int(line.split()[1]): float(line.split()[4].strip(",")) for line in said.splitlines() if "  held-out " in line}
        assert loss[3] < loss[0]
        assert children(folder) == []
    assert sorted(path.name for path in (folder / "state").iterdir()) == ["p0", "p1"]
    assert fedkseed(monkeypatch, "verify", folder / "ledger.safetensors", "--base", tiny_base) == 0
    assert "weights digest" in capsys.readouterr().out


def test_ctrl_c_ends_everything_in_order(toml, tmp_path):
    folder = tmp_path / "party"
    with running(toml(rounds=ENDLESS), folder) as up:
        assert any("version 2  round" in line for line in up.stdout)
        assert sum("fedkseed_cli" in command for command in children(folder)) == 5
        up.send_signal(signal.SIGINT)
        said, complaints = up.communicate(timeout=PATIENCE_SECONDS)
        assert (up.returncode, complaints) == (0, "")
    assert "ledger.safetensors: version" in said
    assert children(folder) == []
    logs = "".join(log.read_text() for log in (folder / "logs").iterdir())
    assert "Traceback" not in logs
    assert "disconnected" not in logs, "a server ended before those who need it"


def test_when_it_is_killed_nothing_goes_on_running(toml, tmp_path):
    folder = tmp_path / "party"
    with running(toml(rounds=ENDLESS), folder) as up:
        assert any("version 1  round" in line for line in up.stdout)
        assert len(children(folder)) >= 8, "two servers, the mapper of one, and five services"
        up.kill()
    until(lambda: children(folder) == [])
    logs = "".join(log.read_text() for log in (folder / "logs").iterdir())
    assert "Traceback" not in logs


def test_the_ledger_of_one_that_stays_can_be_exported(toml, tmp_path, tiny_base, monkeypatch, capsys):
    folder = tmp_path / "party"
    with running(toml(rounds={"total": 2}), folder, "--stay") as up:
        lines = iter(up.stdout)
        where = next(line for line in lines if "export FEDKSEED_FEDERATION" in line).split()
        for variable in (word for word in where if "=" in word):
            monkeypatch.setenv(*variable.split("="))
        assert any("ledger.safetensors" in line for line in lines)
        assert fedkseed(monkeypatch, "export", "--base", tiny_base, "--out", tmp_path / "tuned", "--version", "1") == 0
        assert "version 1, weights digest" in capsys.readouterr().out
        assert json.loads((tmp_path / "tuned" / "config.json").read_text())["model_type"] == "llama"
        up.send_signal(signal.SIGTERM)
        assert up.wait(PATIENCE_SECONDS) == 0


def test_a_process_that_fails_ends_all_of_them(toml, tmp_path):
    """A client whose state belongs to another federation."""
    folder = tmp_path / "party"
    (folder / "state" / "p1").mkdir(parents=True)
    (folder / "state" / "p1" / "state.json").write_text("{}")
    with running(toml(rounds=ENDLESS), folder) as up:
        _, complaints = up.communicate(timeout=PATIENCE_SECONDS)
    assert up.returncode == 80
    assert complaints.startswith("fedkseed: client-p1 ended with code 11: fedkseed: ")
    assert "state.json" in complaints
    assert complaints.count("\n") == 1
    assert children(folder) == []


def test_a_server_that_is_not_installed_is_named(toml, tmp_path, monkeypatch, capsys):
    path = toml(rounds=ENDLESS)
    monkeypatch.setattr("fedkseed_local.program.SERVERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "party" / "redis").mkdir(parents=True)
    told = refusal(monkeypatch, capsys, tmp_path, "up", path, "--dir", tmp_path / "party")
    assert told == (81, "fedkseed: redis-server is not installed\n")


def test_a_federation_without_enough_clients_is_refused(toml, tmp_path, monkeypatch, capsys):
    told = refusal(monkeypatch, capsys, tmp_path, "up", toml(rounds=ENDLESS), "--dir", tmp_path / "party", "--clients", "9")
    assert told[0] == 23
