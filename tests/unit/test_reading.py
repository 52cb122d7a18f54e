"""Examples are read alike in any company, and in the shape that costs least."""

import pytest
import torch
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
)

from fedkseed import llm, objectives
from fedkseed.federation import LabelWords
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader

SIZES = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, hidden_size=64, intermediate_size=64)),
    "learnt positions": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_layer=2, n_head=4, n_embd=64)),
    "sliding window": lambda: MistralForCausalLM(
        MistralConfig(**SIZES, hidden_size=64, intermediate_size=64, num_key_value_heads=2, sliding_window=4)
    ),
    "distances in attention": lambda: BloomForCausalLM(BloomConfig(vocab_size=64, n_layer=2, n_head=4, hidden_size=64)),
    "a state": lambda: MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=64, num_hidden_layers=2)),
}


class Logits:
    """An objective whose losses are the logits themselves."""

    def losses(self, logits, targets):
        return logits, targets


def read(model, lengths):
    """Logits of examples of these lengths, read together, and the number of rows that the model saw."""
    rows = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    examples = [Encoded(tokens=tuple(range(1, n + 1)), reads=(n - 3, n - 1), targets=(5, 6)) for n in lengths]
    with torch.inference_mode():
        reader = Reader(model, Logits())
        logits, _ = reader.losses(reader.prepare(examples))
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


def test_a_score_is_the_mean_over_targets_in_any_batching(tiny_base):
    model, tokenizer = llm.load_base(tiny_base)
    task = objectives.bind(LabelWords(kind="label-words", words=("terrible", "great")), tokenizer)
    examples = [task.encode({"text": "w1 " * (i + 1), "label": i % 2}) for i in range(7)]
    scores = [Reader(model, task).score(examples, batch) for batch in (1, 3, 7)]
    assert scores[0]["loss"] == pytest.approx(scores[2]["loss"], abs=1e-6)
    assert {score["accuracy"] for score in scores} == {scores[0]["accuracy"]}
