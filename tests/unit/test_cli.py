"""The command without a model: settings, artifacts and options that cannot be used, and what it says of itself."""

import subprocess
import sys

import click
import pytest

from fedkseed import federation
from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from fedkseed_cli.__main__ import SUBCOMMANDS
from fedkseed_cli.__main__ import fedkseed as command
from tests.embedded import described, fedkseed, refusal, write_toml
from tests.ledgers import at_version, genesis, ledger

HEAD, _ = at_version(ledger(), 3)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command: its exit code, standard output and standard error."""

    def call(*arguments):
        code = fedkseed(monkeypatch, *arguments)
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {"learning_rate": 1}}, "training.learning_rate: unknown setting"),
        ({"training": {"esp": 1e-3}}, "training.esp: unknown setting; did you mean eps?"),
        ({"trainig": {"lr": 1}}, "trainig: unknown setting; did you mean training?"),
        ({"data": {"train": "x", "partition": {"by": "iid", "client": 3}}}, "did you mean clients?"),
        ({"training": {"eps": -1}}, "training.eps: input should be greater than 0, not -1"),
        ({"training": {"lr": 0}}, "training.lr"),
        ({"training": {"lr": "fast"}}, "training.lr"),
        ({"training": {"steps": 1.5}}, "training.steps"),
        ({"training": {"directions_per_batch": 3}}, "training: steps (16) must be a multiple of directions_per_batch (3)"),
        ({"training": {"directions_per_batch": 0}}, "training.directions_per_batch"),
        ({"rounds": {"cohort": 0}}, "rounds.cohort"),
        ({"rounds": {"minimum": 9}}, "minimum (9) must not exceed cohort (3)"),
        ({"rounds": {"participation": 1.5}}, "rounds.participation"),
        ({"rounds": {"staleness_law": "linear"}}, "rounds.staleness_law"),
        ({"rounds": {"target": {"metric": "loss"}}}, "rounds.target: a target needs exactly one of at_most and at_least"),
        ({"pool": {"family": "fourier"}}, "pool.family"),
        ({"pool": {"size": 1000}}, "size must be a power of two from 128 to 65536 for family 'hadamard', not 1000"),
        ({"pool": {"size": 64}}, "size must be a power of two"),
        ({"pool": {"size": 131072}}, "pool.size"),
        ({"pool": {"seed": -1}}, "pool.seed"),
        ({"objective": {"kind": "label"}}, "objective: input tag 'label'"),
        ({"objective": {"kind": "label-words", "words": ["one"]}}, "objective.words"),
        ({"objective": {"kind": "label-words", "words": ["a", "b"], "template": "It was"}}, "template must contain {text}"),
        ({"objective": {"kind": "response", "template": "Q:"}}, "template must be 'chat' or contain {prompt}"),
        ({"name": "two words"}, "name"),
        ({"model": {"bas": "x"}}, "model.bas: unknown setting; did you mean base?"),
        ({"simulation": {"dropout": 2}}, "simulation.dropout"),
        ({"simulation": {"network": {"lost": -0.1}}}, "simulation.network.lost"),
        ({"simulation": {"incidents": [{"at_seconds": 1, "kind": "explode", "who": "p1"}]}}, "simulation.incidents.0.kind"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, monkeypatch, capsys, sections, said):
    path = write_toml(tmp_path / "federation.toml", described(tmp_path, tmp_path, **sections))
    code, line = refusal(monkeypatch, capsys, tmp_path, "simulate", path, "--out", tmp_path / "out")
    assert code == 10
    assert f"{path}: " in line
    assert said in line


@pytest.mark.parametrize("text", ["name =", "name = 'a'\nname = 'b'", "[model\n"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, monkeypatch, capsys, text):
    path = tmp_path / "federation.toml"
    path.write_text(text)
    code, line = refusal(monkeypatch, capsys, tmp_path, "simulate", path, "--out", tmp_path / "out")
    assert code == 10
    assert f"{path}: not TOML" in line


def test_a_missing_section_is_named(tmp_path, monkeypatch, capsys):
    settings = described(tmp_path, tmp_path)
    del settings["data"]
    path = write_toml(tmp_path / "federation.toml", settings)
    assert refusal(monkeypatch, capsys, tmp_path, "simulate", path, "--out", tmp_path / "out") == (
        10,
        f"fedkseed: {path}: data: missing\n",
    )


def test_a_missing_federation_is_named(tmp_path, monkeypatch, capsys):
    path = tmp_path / "nowhere.toml"
    code, line = refusal(monkeypatch, capsys, tmp_path, "simulate", path, "--out", tmp_path / "out")
    assert (code, line) == (11, f"fedkseed: {path}: No such file or directory\n")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ledger.safetensors"
    artifact.write(path, Artifact(genesis_bytes=genesis(), version=3, coefficients=HEAD.coefficients))
    return path


def test_show_says_what_a_ledger_holds(run, path):
    code, out, _ = run("show", path)
    assert code == 0
    assert "federation      little" in out
    assert "version         3" in out
    assert f"state digest    {HEAD.digest.hex()}" in out


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_ledger_is_unreadable(path, monkeypatch, capsys, kept):
    path.write_bytes(path.read_bytes()[:kept])
    code, line = refusal(monkeypatch, capsys, path.parent, "show", path)
    assert code == 41
    assert f"{path}: truncated" in line


def test_an_altered_ledger_is_told_apart(path, monkeypatch, capsys):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, line = refusal(monkeypatch, capsys, path.parent, "show", path)
    assert (code, line) == (42, f"fedkseed: {path}: state digest does not match the contents\n")


def test_a_missing_ledger_is_named(tmp_path, monkeypatch, capsys):
    path = tmp_path / "nothing.safetensors"
    code, line = refusal(monkeypatch, capsys, tmp_path, "show", path)
    assert (code, line) == (11, f"fedkseed: {path}: No such file or directory\n")


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_explains_itself(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    _, _, explained = out.partition("[OPTIONS]")
    assert len(explained.split("Options:")[0].split()) > 10
    subcommand = command.get_command(click.Context(command), name)
    options = [option for option in subcommand.params if isinstance(option, click.Option)]
    assert all(option.help for option in options)
    assert all(option.opts[0] in out for option in options)


def test_the_command_lists_its_subcommands(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in SUBCOMMANDS)
    assert {"export", "show", "simulate", "support", "verify"} <= {*SUBCOMMANDS}
    assert {"aggregator", "client", "evaluator"} <= {*SUBCOMMANDS}
    assert {"close", "dead", "init", "log", "pause", "policy", "resume", "rollback", "snapshot", "status"} <= {*SUBCOMMANDS}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulat"], "simulat"),
        (["verify", "x"], "--base"),
        (["verify", "x", "--bse", "y"], "--bse"),
        (["verify", "x", "--base", "y", "--threads", "0"], "--threads"),
        (["support", "x", "--text", "y", "--out", "z", "--fraction", "2"], "--fraction"),
        (["simulate", "x"], "--out"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_names_the_option(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_what_a_ledger_says_is_known_without_torch(path):
    check = f"""
import sys
from fedkseed_cli.__main__ import main
sys.argv = ["fedkseed", "show", {str(path)!r}]
main()
assert not {{"torch", "transformers", "numba"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_settings_of_the_tests_are_valid(tmp_path):
    path = write_toml(tmp_path / "federation.toml", described(tmp_path, tmp_path))
    assert federation.load(path).name == "toy"
