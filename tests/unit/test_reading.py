"""Examples are read alike in any company, and in the shape that costs least."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from fedkseed import llm, objectives
from fedkseed.federation import LabelWords
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader
from tests.architectures import Logits, bloom, gpt2, llama, mamba


def mistral(**options):
    sizes = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(**sizes, hidden_size=64, intermediate_size=64, num_key_value_heads=2, **options)
    return MistralForCausalLM(config)


ARCHITECTURES = {
    "llama": llama,
    "attention in the open": lambda: llama(attn_implementation="eager"),
    "learnt positions": gpt2,
    "a window": lambda: mistral(sliding_window=16),
    "a window that is too small": lambda: mistral(sliding_window=4),
    "distances in attention": bloom,
    "a state": mamba,
}


def examples(lengths, common=0):
    """Of these lengths, with so many tokens in common; two logits are read, the first perhaps among the common ones."""
    return [
        Encoded(tokens=tuple(p if p < common else (p + 9 * i + 1) % 64 for p in range(n)), reads=(1, n - 1), targets=(5, 6))
        for i, n in enumerate(lengths)
    ]


def read(model, batch):
    """Logits of examples, read together, and the shape of the tokens that the model saw."""
    shapes, reader = [], Reader(model, Logits())
    prepared = reader.prepare(batch)
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    with torch.inference_mode():
        logits, _ = reader.losses(prepared)
    hook.remove()
    return logits, shapes[-1]


@pytest.mark.parametrize("common", [0, 3, 5])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_example_is_read_alike_in_any_company(architecture, common):
    """In one row where the architecture keeps examples apart, and padded where it does not."""
    torch.manual_seed(0)
    model, batch = ARCHITECTURES[architecture]().eval(), examples((5, 12, 7), common)
    together, shape = read(model, batch)
    alone = torch.cat([read(model, [example])[0] for example in batch])
    fits = architecture in {"llama", "attention in the open", "learnt positions"} or (
        architecture == "a window" and common >= 5
    )
    assert shape == ((1, 24 - 2 * common) if fits else (3, 12))
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "common", "rows"),
    [
        ((6, 6), 0, 2),
        ((6, 6), 2, 1),
        ((6, 6), 6, 1),
        ((3, 6), 0, 1),
        ((50, 60), 0, 2),
        ((50, 60), 4, 2),
        ((50, 60), 40, 1),
        ((5, 60), 0, 1),
        ((60,), 0, 1),
    ],
)
def test_examples_share_a_row_only_where_that_costs_less_than_a_row_for_each(lengths, common, rows):
    torch.manual_seed(0)
    assert read(llama(width=16).eval(), examples(lengths, common))[1][0] == rows


def test_a_prepared_batch_is_read_with_the_weights_of_the_moment():
    torch.manual_seed(0)
    model, batch = ARCHITECTURES["llama"]().eval(), examples((5, 12, 7), 3)
    reader = Reader(model, Logits())
    prepared = reader.prepare(batch)
    before = reader.mean_loss(prepared)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    assert float(reader.mean_loss(prepared)) == pytest.approx(2 * float(before), rel=1e-5)


def test_a_score_is_the_mean_over_targets_in_any_batching(tiny_base):
    model, tokenizer = llm.load_base(tiny_base)
    task = objectives.bind(LabelWords(kind="label-words", words=("terrible", "great")), tokenizer)
    examples = [task.encode({"text": "w1 " * (i + 1), "label": i % 2}) for i in range(7)]
    scores = [Reader(model, task).score(examples, batch) for batch in (1, 3, 7)]
    assert scores[0]["loss"] == pytest.approx(scores[2]["loss"], abs=1e-6)
    assert {score["accuracy"] for score in scores} == {scores[0]["accuracy"]}
