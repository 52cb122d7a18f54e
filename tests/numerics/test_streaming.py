"""Weights that are there only while they are used: the same bits and losses as those that are kept, in the room of a layer."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from fedkseed import llm, objectives
from fedkseed.errors import SettingError
from fedkseed.federation import parse
from fedkseed.model import found, open_base
from fedkseed.reading import Reader
from fedkseed.workbench import set_up
from fedkseed.zo.trainer import train

WORDS = 1200  # so many that embedding and head are larger than a layer, and no whole number of runs
SIZES = {"vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "max_position_embeddings": 64}
ARCHITECTURES = {
    "tied": (LlamaForCausalLM, LlamaConfig(tie_word_embeddings=True, **SIZES, **HEADS)),
    "untied": (LlamaForCausalLM, LlamaConfig(tie_word_embeddings=False, pad_token_id=WORDS - 1, **SIZES, **HEADS)),
    "positions": (GPT2LMHeadModel, GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "biases": (PhiForCausalLM, PhiConfig(tie_word_embeddings=False, **SIZES, **HEADS)),
    "scaled": (Gemma3ForCausalLM, Gemma3TextConfig(head_dim=8, **SIZES, **HEADS)),
    "experts": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=8, **SIZES, **HEADS),
    ),
}
DTYPES = [torch.float32, torch.bfloat16]
EXAMPLES = [{"text": f"w{i} w{(i * 7) % 54}", "label": i % 2} for i in range(24)]
A = np.random.default_rng(0).integers(-1000, 1000, 256)


@pytest.fixture(scope="module")
def bases(tiny_base, tmp_path_factory):
    """Makes a base of an architecture, stored in a dtype, once."""
    made = {}

    def make(name, stored=torch.float32):
        if (name, stored) not in made:
            kind, config = ARCHITECTURES[name]
            torch.manual_seed(0)
            made[name, stored] = tmp_path_factory.mktemp(name)
            kind(config).to(stored).save_pretrained(made[name, stored])
            AutoTokenizer.from_pretrained(tiny_base).save_pretrained(made[name, stored])
        return made[name, stored]

    return make


def federation(base, family="hadamard"):
    return parse(
        {
            "name": "toy",
            "model": {"base": str(base)},
            "objective": {"kind": "label-words", "words": ["terrible", "great"]},
            "pool": {"family": family, "size": 256, "seed": 3},
            "data": {"train": "-", "held_out": "-", "partition": {"by": "iid", "clients": 1}},
        }
    )


class Bench:
    """A base with its weights kept in one of both ways."""

    def __init__(self, where, memory, dtype=torch.float32, family="hadamard"):
        settings, self.base = federation(where, family), open_base(where)
        made = set_up(found(settings, self.base), self.base, dtype=dtype, threads=2, memory=memory)
        self.model, self.weights, self.reader = self.base.model, made.weights, made.reader
        self.examples = [made.task.encode(example) for example in EXAMPLES]

    def losses(self):
        with torch.inference_mode():
            return self.reader.losses(self.reader.prepare(self.examples))[0].tolist()


def both(where, **options):
    return [Bench(where, memory, **options) for memory in ("resident", "streaming")]


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tied", "positions", "biases"])
def test_a_layer_sees_the_bits_of_weights_that_are_kept(bases, name, dtype, stored):
    kept, streamed = both(bases(name, stored), dtype=dtype)
    kept.weights.materialise_(A, along=5, shift=1e-2)
    streamed.weights.materialise_(A, along=5, shift=1e-2)
    expected = dict(kept.model.named_parameters())
    seen = {}

    def look(prefix, module, _args):
        seen.update({f"{prefix}.{own}": p.detach().clone() for own, p in module.named_parameters(recurse=False)})

    embedding, _, head = llm.parts(streamed.model)
    for prefix, module in streamed.model.named_modules():
        if module not in {embedding, head}:
            module.register_forward_pre_hook(partial(look, prefix))
    streamed.losses()
    by_rows = {part for part, p in streamed.model.named_parameters() if p is embedding.weight or p in set(head.parameters())}
    ours = {part: values for part, values in seen.items() if values.isfinite().all()}
    assert ours.keys() == expected.keys() - by_rows
    for part, values in ours.items():
        assert values.dtype == expected[part].dtype
        assert torch.equal(values, expected[part])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tied", "untied", "biases"])
def test_rows_that_are_looked_up_and_the_head_are_those_of_weights_that_are_kept(bases, name, dtype):
    outputs = []
    tokens = torch.tensor([[7, 3, 0, 7], [WORDS - 1, 129, 128, 640]])
    for bench in both(bases(name), dtype=dtype):
        bench.weights.materialise_(A, along=5, shift=1e-2)
        embedding, _, head = llm.parts(bench.model)
        with torch.inference_mode():
            rows = embedding(tokens)
            outputs.append((rows, head(rows), head(rows[:1, 1])))
    for one, other in zip(*outputs, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_losses_are_equal_to_the_last_bit(bases, name, dtype):
    kept, streamed = both(bases(name), dtype=dtype)
    for along, shift in ((0, 0.0), (5, 1e-2), (5, -1e-2)):
        for bench in (kept, streamed):
            bench.weights.materialise_(A, along=along, shift=shift)
        assert kept.losses() == streamed.losses()


def test_before_it_is_asked_for_anything_it_shows_the_base(bases):
    kept, streamed = both(bases("tied"))
    assert kept.losses() == streamed.losses()


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_measures_the_same_pairs(bases, dtype):
    measured = [
        train(
            bench.weights,
            bench.reader.mean_loss,
            map(bench.reader.prepare, [bench.examples] * 12),
            coefficients=A,
            directions=np.random.default_rng(0).integers(0, 256, 12),
            eps=1e-2,
            lr=1e-3,
        )
        for bench in both(bases("tied"), dtype=dtype)
    ]
    one, other = ((m.seed_indices.tolist(), m.gradients.tolist(), m.loss, m.skipped) for m in measured)
    assert one == other
    assert len(set(one[1])) > 6


def test_scores_and_generated_responses_are_the_same(bases):
    results = []
    for bench in both(bases("tied")):
        bench.weights.materialise_(A)
        said = llm.respond(bench.model, bench.base.tokenizer, [[1, 7, 8], [9]], 6)
        results.append((bench.reader.score(bench.examples, 5), said))
    assert results[0] == results[1]


class Failed(Exception):
    """What a hook raises."""


@pytest.mark.parametrize("part", ["layer", "head"])
def test_a_forward_pass_that_fails_leaves_nothing_behind_and_the_model_usable(bases, part):
    bench = Bench(bases("untied"), "streaming")
    before = bench.losses()
    _, layers, head = llm.parts(bench.model)

    def fail(*_):
        raise Failed

    broken = layers[1].mlp if part == "layer" else head
    hook = broken.register_forward_hook(fail)
    with pytest.raises(Failed):
        bench.losses()
    hook.remove()
    assert all(p.isnan().all() for p in bench.model.parameters())
    assert bench.losses() == before


class Watched(TorchDispatchMode):
    """Bytes of every memory that operations give, by address, of which nothing was there before."""

    def __init__(self, before):
        super().__init__()
        self._before = {tensor.untyped_storage().data_ptr() for tensor in before}
        self.found = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self._before:
                storage = tensor.untyped_storage()
                self.found[storage.data_ptr()] = max(storage.nbytes(), self.found.get(storage.data_ptr(), 0))
        return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tied", "untied"])
def test_one_buffer_of_the_size_of_a_layer_is_all_that_weights_take(bases, name, dtype):
    settings, base = federation(bases(name)), open_base(bases(name))
    genesis, task = found(settings, base), objectives.bind(settings.objective, base.tokenizer)
    layer = sum(p.numel() * llm.computed_in(p, dtype).itemsize for p in llm.parts(base.model)[1][0].parameters())
    with Watched(base.parameters.values()) as watched:
        weights = set_up(genesis, base, dtype=dtype, memory="streaming").weights
        weights.materialise_(A, along=5, shift=1e-2)
        reader = Reader(base.model, task)
        reader.mean_loss(reader.prepare([task.encode(example) for example in EXAMPLES[:2]]))
    assert [size for size in watched.found.values() if size >= layer] == [layer]
    assert all(p.untyped_storage().nbytes() == p.itemsize for p in base.model.parameters())


def test_only_coefficients_can_be_streamed(bases):
    with pytest.raises(SettingError, match="memory: streaming needs the family hadamard; gaussian"):
        Bench(bases("tied"), "streaming", family="gaussian")
    assert Bench(bases("tied"), "auto", family="gaussian").weights.memory == "resident"


def test_weights_of_a_sparse_support_are_never_streamed(bases):
    base = replace(open_base(bases("tied")), support={"model.norm.weight": np.arange(3)})
    assert set_up(found(federation(base.name), base), base, memory="streaming").weights.memory == "resident"
