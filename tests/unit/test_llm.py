"""Bases load or say why not; computing in 16 bits keeps vectors whole."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from fedkseed import llm
from fedkseed.errors import BaseMissing

SIZES = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize("model_type", ["llama", "homemade"])
def test_code_that_comes_with_a_base_is_never_run(tiny_base, tmp_path, model_type):
    """Nor is anybody asked whether it may; where transformers knows the architecture, its own code is used."""
    base, ran = shutil.copytree(tiny_base, tmp_path / "base"), tmp_path / "ran"
    classes = "class Config: pass\nclass Model: pass\n"
    (base / "homemade.py").write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n{classes}")
    config = json.loads((base / "config.json").read_text())
    own = {"AutoConfig": "homemade.Config", "AutoModelForCausalLM": "homemade.Model", "AutoTokenizer": ["homemade.Model", None]}
    (base / "config.json").write_text(json.dumps(config | {"model_type": model_type, "auto_map": own}))
    if model_type == "llama":
        assert type(llm.load_base(base)[0]) is LlamaForCausalLM
    else:
        with pytest.raises(BaseMissing, match="code of its own, which is never run here"):
            llm.load_base(base)
    assert not ran.exists()


def test_weights_that_are_pickled_are_not_read(tiny_base, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(BaseMissing, match="safetensors"):
        llm.load_base(base)


def test_a_missing_base_is_named(tmp_path):
    with pytest.raises(BaseMissing, match="nowhere"):
        llm.load_base(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(hidden_size=32, intermediate_size=64, **SIZES)),
        (Qwen2ForCausalLM, Qwen2Config(hidden_size=32, intermediate_size=64, num_key_value_heads=2, **SIZES)),
        (GPT2LMHeadModel, GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32)),
    ],
    ids=["llama", "qwen2-biased-linear", "gpt2-layer-norm-conv1d"],
)
def test_a_model_computes_in_bfloat16_with_its_vectors_in_float32(architecture, config):
    torch.manual_seed(0)
    model = architecture(config).eval()
    tokens = torch.arange(20).view(2, 10)
    exact = model(input_ids=tokens).logits
    llm.compute_in_(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters() if p.dim() == 1} == {torch.float32}
    assert {p.dtype for p in model.parameters() if p.dim() > 1} == {torch.bfloat16}
    rounded = model(input_ids=tokens).logits
    assert rounded.dtype == torch.bfloat16
    assert torch.allclose(rounded.float(), exact, atol=0.05, rtol=0.05)


def test_bases_that_are_loaded_at_the_same_time_are_all_whole(tiny_base):
    """A client may look at its base once more while a training that was abandoned still opens it."""
    with ThreadPoolExecutor(8) as pool:
        loaded = [model for model, _ in pool.map(llm.load_base, [tiny_base] * 24)]
    expected = {name: tensor.sum().item() for name, tensor in llm.load_base(tiny_base)[0].state_dict().items()}
    for model in loaded:
        assert {name: tensor.sum().item() for name, tensor in model.state_dict().items()} == expected
