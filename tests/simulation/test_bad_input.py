"""The command with a model: bases, data files, supports and places that cannot be used, each with its exit code."""

import json
import shutil

import numpy as np
import pytest
import transformers
from safetensors.torch import load_file, save_file

from fedkseed import model
from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from fedkseed.zo import support
from tests.embedded import TALK, TOY, described, federation, fedkseed, refusal, write_rows, write_toml


@pytest.fixture(autouse=True)
def _quiet():
    """What the command asks of transformers by its environment, before it is imported."""
    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.set_verbosity(level)
    if bars:
        transformers.logging.enable_progress_bar()


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command where it must fail and leave nothing: its exit code and its line."""
    return lambda *arguments: refusal(monkeypatch, capsys, tmp_path, *arguments)


@pytest.fixture
def simulated(tiny_base, tmp_path, refused):
    """Run a federation with other settings, which must fail and leave nothing."""

    def call(rows=TOY, **sections):
        path = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path, rows, **sections))
        return refused("simulate", path, "--out", tmp_path / "out")

    return call


@pytest.fixture
def path(tiny_base, tmp_path):
    """A federation that could run, in a file beside its data."""
    return write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path))


@pytest.fixture
def copy(tiny_base, tmp_path):
    """A copy of the base, to be spoilt."""
    return shutil.copytree(tiny_base, tmp_path / "copy")


@pytest.fixture(scope="module")
def ledger(tiny_base, tmp_path_factory):
    """The ledger of a federation that trains all parameters of the tiny base."""
    folder = tmp_path_factory.mktemp("founded")
    return found(federation(tiny_base, folder), folder / "ledger.safetensors")


def found(settings, path):
    genesis = model.found(settings, model.open_base(settings.model.base, settings.model.support))
    coefficients = np.arange(genesis.pool.size)
    artifact.write(path, Artifact(genesis_bytes=genesis.encode(), version=1, coefficients=coefficients))
    return path


def change_tensors(base, change):
    tensors = load_file(base / "model.safetensors")
    change(tensors)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def change_config(base, **values):
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize("base", ["nowhere/at/all", "/nowhere/at/all", "nobody/nothing"])
def test_a_missing_base_is_named(simulated, base):
    code, line = simulated(model={"base": base})
    assert code == 31
    assert f"base model {base}: no such directory" in line


def test_a_directory_without_a_model_is_named(simulated, tmp_path):
    (tmp_path / "empty").mkdir()
    code, line = simulated(model={"base": str(tmp_path / "empty")})
    assert code == 31
    assert f"base model {tmp_path / 'empty'}: " in line


def test_truncated_weights_are_no_base(simulated, copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code, line = simulated(model={"base": str(copy)})
    assert code == 31
    assert f"base model {copy}: " in line


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_files_that_are_not_json_are_no_base(simulated, copy, file):
    (copy / file).write_text("{")
    code, line = simulated(model={"base": str(copy)})
    assert code == 31
    assert f"base model {copy}: " in line


def test_a_config_of_the_wrong_types_is_no_base(simulated, copy):
    change_config(copy, hidden_size="wide")
    code, line = simulated(model={"base": str(copy)})
    assert code == 31
    assert "hidden_size" in line


def test_a_base_without_one_of_its_tensors_is_not_filled_up_by_chance(simulated, copy):
    change_tensors(copy, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    code, line = simulated(model={"base": str(copy)})
    assert code == 31
    assert "tensor model.layers.1.mlp.up_proj.weight" in line


def test_a_base_whose_tensors_do_not_fit_its_config_is_refused(simulated, copy):
    change_config(copy, intermediate_size=48)
    code, line = simulated(model={"base": str(copy)})
    assert code == 31
    assert "tensor model.layers.0.mlp.down_proj.weight" in line


def test_a_base_in_a_dtype_without_an_exact_rebuild_is_refused(simulated, copy):
    change_tensors(copy, lambda tensors: tensors.update({name: tensor.double() for name, tensor in tensors.items()}))
    change_config(copy, dtype="float64")
    code, line = simulated(model={"base": str(copy)})
    assert code == 30
    assert "tensor model.embed_tokens.weight: stored as torch.float64" in line


def test_label_words_that_look_alike_are_named(simulated):
    code, line = simulated(objective={"kind": "label-words", "words": ["nobody", "nothing"]})
    assert code == 10
    assert "objective.words: ['nobody', 'nothing']" in line


def test_a_base_without_a_chat_template_is_refused_where_one_is_wanted(simulated, copy):
    (copy / "chat_template.jinja").unlink()
    code, line = simulated(TALK, model={"base": str(copy)}, objective={"kind": "response"})
    assert code == 10
    assert "objective.template" in line


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"objective": {"kind": "response", "max_tokens": 1}}, "objective.max_tokens"),
        ({"rounds": {"target": {"metric": "los", "at_most": 1.0}}, "objective": {"kind": "response"}}, "rounds.target.metric"),
        ({"rounds": {"target": {"metric": "rouge_l", "at_least": 1.0}}, "objective": {"kind": "response"}}, "rouge_l"),
        ({"simulation": {"incidents": [{"at_seconds": 1, "kind": "join", "who": "zoe"}]}}, "simulation.incidents: nobody"),
    ],
)
def test_settings_that_do_not_suit_the_federation_are_named(simulated, sections, said):
    code, line = simulated(TALK, **{"objective": {"kind": "response"}} | sections)
    assert code == 10
    assert said in line


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 21, "no examples"),
        ('{"text": "w1", "label": 0, "who": "a"}\n{"text"\n', 22, "line 2: not JSON"),
        ('{"text": "w1", "label": 0, "who": "a"}\n\n', 22, "line 2: not JSON"),
        ("[1]\n", 22, "line 1: not a JSON object"),
        ('{"text": "w1", "who": "a"}\n', 22, "line 1: no field 'label'"),
        ('{"text": "w1", "label": 2, "who": "a"}\n', 22, "line 1: label is 2"),
        ('{"text": "w1", "label": 0, "who": "a"}\n{"text": "w1", "label": 0}\n', 22, "line 2: no field 'who'"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", 22, "line 1: not JSON"),
    ],
)
def test_a_data_file_that_cannot_be_used_is_named_with_its_line(path, refused, text, code, said):
    train = path.with_name("train.jsonl")
    train.write_text(text, encoding="utf-8")
    given, line = refused("simulate", path, "--out", path.with_name("out"))
    assert given == code
    assert f"{train}: {said}" in line


def test_held_out_data_are_checked_too(path, tmp_path, refused):
    write_rows(tmp_path / "held_out.jsonl", [*TOY[:4], {"text": " ", "label": 0}])
    code, line = refused("simulate", path, "--out", tmp_path / "out")
    assert (code, line) == (22, f"fedkseed: {tmp_path / 'held_out.jsonl'}: line 5: text is blank\n")


def test_a_missing_data_file_is_named(path, tmp_path, refused):
    (tmp_path / "train.jsonl").unlink()
    code, line = refused("simulate", path, "--out", tmp_path / "out")
    assert (code, line) == (11, f"fedkseed: {tmp_path / 'train.jsonl'}: No such file or directory\n")


@pytest.mark.parametrize("how", [{"by": "iid", "clients": 50}, {"by": "field", "field": "who", "clients": 4}])
def test_a_client_with_no_examples_is_refused(simulated, how):
    code, line = simulated(data={"train": "train.jsonl", "held_out": "held_out.jsonl", "partition": how})
    assert code == 23
    assert "train.jsonl" in line


def test_a_run_does_not_go_into_a_file(path, refused):
    assert refused("simulate", path, "--out", path) == (11, f"fedkseed: {path}: File exists\n")


@pytest.mark.parametrize("name", ["ledger.safetensors", "metrics.jsonl", "report.html"])
def test_a_file_that_cannot_be_replaced_is_named_and_leaves_nothing_half_written(
    tiny_base, tmp_path, monkeypatch, capsys, name
):
    sections = {"training": {"steps": 1}, "rounds": {"total": 1}}
    path = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path, **sections))
    (tmp_path / "out" / name).mkdir(parents=True)
    code = fedkseed(monkeypatch, "simulate", path, "--out", tmp_path / "out", "--json")
    assert (code, capsys.readouterr().err) == (11, f"fedkseed: {tmp_path / 'out' / name}: Is a directory\n")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left <= {"ledger.safetensors", "metrics.jsonl", "report.html"}


@pytest.mark.parametrize("kept", [0, -1])
def test_a_truncated_ledger_is_not_exported(tiny_base, tmp_path, refused, ledger, kept):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(ledger.read_bytes()[:kept])
    code, line = refused("export", cut, "--base", tiny_base, "--out", tmp_path / "model")
    assert code == 41
    assert f"{cut}: truncated" in line


def test_an_altered_ledger_is_not_verified(tiny_base, tmp_path, refused, ledger):
    altered, data = tmp_path / "altered.safetensors", bytearray(ledger.read_bytes())
    data[-4] ^= 1
    altered.write_bytes(data)
    code, line = refused("verify", altered, "--base", tiny_base)
    assert (code, line) == (42, f"fedkseed: {altered}: state digest does not match the contents\n")


@pytest.mark.parametrize("verb", ["verify", "export"])
def test_a_base_with_other_values_is_not_the_one_of_the_ledger(tmp_path, refused, ledger, copy, verb):
    change_tensors(copy, lambda tensors: tensors["model.norm.weight"].add_(1e-3))
    out = ["--out", tmp_path / "model"] if verb == "export" else []
    code, line = refused(verb, ledger, "--base", copy, *out)
    assert code == 32
    assert f"base model {copy}: not the weights that federation toy was founded on" in line


def test_a_base_in_another_dtype_is_not_the_one_of_the_ledger(refused, ledger, copy):
    change_tensors(copy, lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}))
    change_config(copy, dtype="float16")
    code, line = refused("verify", ledger, "--base", copy)
    assert code == 32
    assert "tensor model.embed_tokens.weight: F16 of shape [64, 32] in this base, F32 of shape [64, 32]" in line


def test_a_base_of_another_depth_is_not_the_one_of_the_ledger(refused, ledger, copy):
    change_config(copy, num_hidden_layers=1)
    code, line = refused("verify", ledger, "--base", copy)
    assert code == 32
    assert "tensor model.layers.1.input_layernorm.weight: in the genesis, but not in this base" in line


def test_nothing_is_exported_over_what_is_there(tiny_base, tmp_path, refused, ledger):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    code, line = refused("export", ledger, "--base", tiny_base, "--out", tmp_path / "model")
    assert (code, line) == (11, f"fedkseed: {tmp_path / 'model'}: exists already\n")


@pytest.fixture
def chosen(tiny_base, tmp_path):
    """A support of the tiny base, beside a federation that trains it."""
    spread = {name: np.arange(0, p.numel(), 16) for name, p in model.open_base(tiny_base).parameters.items()}
    support.write(tmp_path / "support.safetensors", spread)
    return tmp_path / "support.safetensors"


def test_a_support_that_is_missing_or_none_is_named(simulated, tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"no support")
    for name in ("gone.safetensors", "junk.safetensors"):
        code, line = simulated(model={"support": name})
        assert code == 33
        assert f"support {tmp_path / name}: " in line


def test_a_sparse_ledger_needs_its_own_support(tiny_base, tmp_path, refused, chosen):
    sparse = federation(tiny_base, tmp_path, model={"support": chosen.name})
    path = found(sparse, tmp_path / "sparse.safetensors")
    other = tmp_path / "other.safetensors"
    support.write(other, {"model.norm.weight": np.arange(4)})
    code, line = refused("verify", path, "--base", tiny_base)
    assert (code, line) == (33, "fedkseed: federation toy needs its support.safetensors\n")
    code, line = refused("verify", path, "--base", tiny_base, "--support", other)
    assert (code, line) == (33, "fedkseed: the support is not the one that federation toy was founded on\n")


def test_a_full_ledger_takes_no_support(tiny_base, refused, ledger, chosen):
    code, line = refused("verify", ledger, "--base", tiny_base, "--support", chosen)
    assert (code, line) == (33, "fedkseed: federation toy trains all parameters; leave the support out\n")


def test_a_support_outside_of_its_tensors_is_named(simulated, tmp_path):
    support.write(tmp_path / "outside.safetensors", {"model.norm.weight": np.array([31, 32])})
    code, line = simulated(model={"support": "outside.safetensors"})
    assert code == 33
    assert "tensor model.norm.weight" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"--text": "gone.txt"}, (11, "gone.txt: No such file or directory")),
        ({"--text": "binary.txt"}, (11, "binary.txt: 'utf-8' codec")),
        ({"--length": 5000}, (21, "text.txt: shorter than a passage of 5000 tokens")),
        ({"--out": "gone/support.safetensors"}, (11, "gone/support.safetensors: ")),
        ({"--fraction": "nan"}, (10, "fraction: must be above 0")),
        ({"--from-layer": 2}, (10, "layer 2: the model has 2, counted from 0")),
        ({"--from-layer": 1, "--fraction": 0.9}, (10, "more than there are from layer 1 on")),
    ],
)
def test_a_support_that_cannot_be_chosen(tiny_base, tmp_path, refused, options, expected):
    (tmp_path / "text.txt").write_text("w1 w2 w3 " * 100)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe" * 100)
    given = {"--text": "text.txt", "--out": "support.safetensors", "--samples": 2, "--length": 8} | options
    given |= {name: tmp_path / given[name] for name in ("--text", "--out")}
    code, line = refused("support", tiny_base, *(part for option in given.items() for part in option))
    assert code == expected[0]
    assert expected[1] in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--examples", "one.jsonl"], (10, "give --text, or --examples and the --federation that they are for")),
        (["--examples", "gone.jsonl", "--federation", "federation.toml"], (11, "gone.jsonl: No such file or directory")),
        (["--examples", "one.jsonl", "--federation", "gone.toml"], (11, "gone.toml: No such file or directory")),
        (["--examples", "blank.jsonl", "--federation", "federation.toml"], (22, "blank.jsonl: line 2: ")),
        (["--examples", "one.jsonl", "--federation", "federation.toml"], (21, "examples of one label do not say")),
    ],
)
@pytest.mark.usefixtures("path")
def test_examples_that_no_support_can_be_chosen_on(tiny_base, tmp_path, refused, options, expected):
    write_rows(tmp_path / "one.jsonl", [row for row in TOY if not row["label"]])
    write_rows(tmp_path / "blank.jsonl", [TOY[0], {"text": " ", "label": 0}])
    located = [option if option.startswith("--") else tmp_path / option for option in options]
    code, line = refused("support", tiny_base, *located, "--out", tmp_path / "support.safetensors")
    assert code == expected[0]
    assert expected[1] in line
