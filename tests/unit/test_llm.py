"""Objectives agree with plain transformers; bases load or say why not; computing in 16 bits keeps vectors whole."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from fedkseed import llm
from fedkseed.errors import BaseMissing, SettingError
from fedkseed.federation import LabelWords, Response

SIZES = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
LABELS = LabelWords(kind="label-words", words=("terrible", "great"))
CHAT = Response(kind="response")


@pytest.fixture(scope="module")
def base(tiny_base):
    return llm.load_base(tiny_base)


def test_label_word_loss_is_cross_entropy_over_the_label_words_only(base):
    model, tokenizer = base
    task = llm.bind(LABELS, tokenizer)
    example = task.encode({"text": "w1 w2 w3", "label": 1})
    logits = model(input_ids=torch.tensor([example.tokens])).logits[0, -1].detach()
    words = [tokenizer.convert_tokens_to_ids(word) for word in LABELS.words]
    assert tokenizer.decode(example.tokens) == "w1 w2 w3 It was"
    expected = float(functional.cross_entropy(logits[words], torch.tensor(1)))
    assert float(llm.mean_loss(llm.Reader(model), task, [example])) == pytest.approx(expected, abs=1e-6)


def test_response_loss_is_the_masked_loss_of_transformers(base):
    model, tokenizer = base
    task = llm.bind(CHAT, tokenizer)
    example = task.encode({"prompt": "w1 w2", "response": "w3 w4 w5"})
    assert tokenizer.decode(example.tokens) == "user w1 w2 </s> assistant w3 w4 w5 </s>"
    labels = torch.full((1, len(example.tokens)), -100)
    labels[0, -4:] = torch.tensor(example.tokens[-4:])
    expected = float(model(input_ids=torch.tensor([example.tokens]), labels=labels).loss.detach())
    assert float(llm.mean_loss(llm.Reader(model), task, [example])) == pytest.approx(expected, abs=1e-6)


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


ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, hidden_size=64, intermediate_size=64)),
    "learnt positions": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_layer=2, n_head=4, n_embd=64)),
    "sliding window": lambda: MistralForCausalLM(
        MistralConfig(**SIZES, hidden_size=64, intermediate_size=64, num_key_value_heads=2, sliding_window=4)
    ),
    "distances in attention": lambda: BloomForCausalLM(BloomConfig(vocab_size=64, n_layer=2, n_head=4, hidden_size=64)),
    "a state": lambda: MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=64, num_hidden_layers=2)),
}


def read(model, lengths):
    """Logits of examples of these lengths, read together, and the number of rows that the model saw."""
    rows = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    examples = [llm.Encoded(tokens=tuple(range(1, n + 1)), reads=(n - 3, n - 1), targets=(5, 6)) for n in lengths]
    with torch.inference_mode():
        logits, _ = llm.Reader(model).logits(examples)
    hook.remove()
    return logits, rows[-1]


@pytest.mark.parametrize(("architecture", "rows"), [*zip(ARCHITECTURES, (1, 1, 1, 3, 3), strict=True)])
def test_an_example_is_read_alike_in_any_company(architecture, rows):
    """Examples of unlike length share a row where the architecture keeps them apart, and are padded where it does not."""
    torch.manual_seed(0)
    model, lengths = ARCHITECTURES[architecture]().eval(), (3, 12, 7)
    together, seen = read(model, lengths)
    alone = torch.cat([read(model, (length,))[0] for length in lengths])
    assert seen == rows
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(("lengths", "rows"), [((6, 6), 2), ((3, 6), 1), ((50, 60), 2), ((5, 60), 1)])
def test_examples_share_a_row_only_where_that_costs_less_than_padding(lengths, rows):
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, hidden_size=16, intermediate_size=64)
    assert read(LlamaForCausalLM(config).eval(), lengths)[1] == rows


def test_a_score_is_the_mean_over_targets_in_any_batching(base):
    model, tokenizer = base
    task = llm.bind(LABELS, tokenizer)
    examples = [task.encode({"text": "w1 " * (i + 1), "label": i % 2}) for i in range(7)]
    scores = [llm.score(llm.Reader(model), task, examples, batch) for batch in (1, 3, 7)]
    assert scores[0]["loss"] == pytest.approx(scores[2]["loss"], abs=1e-6)
    assert {score["accuracy"] for score in scores} == {scores[0]["accuracy"]}


def test_a_long_text_loses_its_end_and_keeps_the_words_after_it(base):
    _, tokenizer = base
    task = llm.bind(LabelWords(kind="label-words", words=("terrible", "great"), max_tokens=5), tokenizer)
    assert tokenizer.decode(task.encode({"text": "w1 w2 w3 w4 w5 w6", "label": 0}).tokens) == "w1 w2 w3 It was"


def test_a_long_prompt_loses_its_beginning(base):
    _, tokenizer = base
    task = llm.bind(Response(kind="response", max_tokens=6), tokenizer)
    assert tokenizer.decode(task.encode({"prompt": "w1 w2 w3", "response": "w4 w5"}).tokens) == "w3 </s> assistant w4 w5 </s>"


def test_a_plain_template_needs_no_chat_template(base):
    _, tokenizer = base
    task = llm.bind(Response(kind="response", template="user {prompt} assistant"), tokenizer)
    assert tokenizer.decode(task.encode({"prompt": "w1", "response": "w2"}).tokens) == "user w1 assistant w2 </s>"


def test_braces_in_a_plain_template_are_just_text(base):
    _, tokenizer = base
    task = llm.bind(Response(kind="response", template="{w1} {prompt} {"), tokenizer)
    expected = ["{w1} w2 {", "{w1} w2 {".replace("w2", "{prompt}")]
    prompts = [task.prompt({"prompt": prompt}) for prompt in ("w2", "{prompt}")]
    assert prompts == [tokenizer(text)["input_ids"] for text in expected]


def test_a_response_after_an_empty_prompt_follows_the_end_of_text(base):
    _, tokenizer = base
    encoded = llm.bind(Response(kind="response", template="{prompt}"), tokenizer).encode({"prompt": "", "response": "w1"})
    assert tokenizer.decode(encoded.tokens) == "</s> w1 </s>"
    assert encoded.reads == (0, 1)


def test_label_words_that_look_alike_to_the_tokenizer_are_refused(base):
    with pytest.raises(SettingError, match=r"objective\.words"):
        llm.bind(LabelWords(kind="label-words", words=("nobody", "nothing")), base[1])


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
