"""Layers that nothing trained is in or before are computed once for a batch, and losses stay the same bits."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from fedkseed import choosing, llm, model, trunk
from fedkseed.errors import SettingError
from fedkseed.federation import LabelWords
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader
from tests.architectures import Logits, bloom, gpt2, llama, mamba

ARCHITECTURES = {"llama": llama, "gpt2": gpt2, "bloom": bloom, "mamba": mamba}
WORDS = LabelWords(kind="label-words", words=("terrible", "great"))


def opened(architecture):
    torch.manual_seed(0)
    return ARCHITECTURES[architecture](layers=4).eval()


def batch(lengths=(5, 12, 7)):
    return [
        Encoded(tokens=tuple((p + 9 * i + 1) % 64 for p in range(n)), reads=(n - 1,), targets=(5,))
        for i, n in enumerate(lengths)
    ]


def of_layer(built, number):
    return set(llm.parts(built)[1][number].parameters())


@contextmanager
def counted(modules):
    """How often modules compute."""
    calls, before = [], [module.forward for module in modules]

    def counting(forward):
        def computed(*args, **options):
            calls.append(forward)
            return forward(*args, **options)

        return computed

    for module, forward in zip(modules, before, strict=True):
        module.forward = counting(forward)
    yield calls
    for module in modules:
        del module.forward


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_are_the_same_bits_and_the_trunk_is_computed_once(architecture):
    built = opened(architecture)
    trained = of_layer(built, 2)
    whole, shared = Reader(built, Logits()), Reader(built, Logits(), trained=trained)
    prepared = shared.prepare(batch())
    assert shared.trunk is not None
    assert shared.trunk.layers == tuple(llm.parts(built)[1][:2])
    dice = torch.Generator().manual_seed(1)
    with torch.inference_mode(), counted(shared.trunk.layers) as calls:
        for _ in range(3):
            here = shared.losses(prepared)[0]
            assert len(calls) == 2
            mixed = calls.copy()
            assert torch.equal(here, whole.losses(whole.prepare(batch()))[0])
            calls[:] = mixed
            for parameter in trained:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=dice))


def test_a_batch_keeps_what_its_own_examples_gave():
    built = opened("llama")
    reader = Reader(built, Logits(), trained=of_layer(built, 3))
    batches = [reader.prepare(batch(lengths)) for lengths in ((5, 12, 7), (12, 5, 7))]
    first = [reader.mean_loss(prepared) for prepared in batches]
    assert first[0] != first[1]
    assert [reader.mean_loss(prepared) for prepared in batches] == first


@pytest.mark.parametrize(
    ("architecture", "trained", "layers"),
    [
        ("llama", lambda built: set(built.lm_head.parameters()), 4),
        ("llama", lambda built: set(built.model.norm.parameters()), 4),
        ("llama", lambda built: of_layer(built, 1) | of_layer(built, 3), 1),
        ("llama", lambda built: of_layer(built, 0), 0),
        ("llama", lambda built: set(built.model.embed_tokens.parameters()), 0),
        ("gpt2", lambda built: set(built.lm_head.parameters()), 0),
        ("gpt2", lambda built: set(built.transformer.wpe.parameters()), 0),
    ],
    ids=["head", "last norm", "two layers", "first layer", "embedding", "a head that is the embedding", "positions"],
)
def test_the_trunk_ends_where_the_first_trained_parameter_comes(architecture, trained, layers):
    built = opened(architecture)
    found = Reader(built, Logits(), trained=trained(built)).trunk
    assert (0 if found is None else len(found.layers)) == layers


def test_without_a_word_of_what_is_trained_everything_may_change():
    assert Reader(opened("llama"), Logits()).trunk is None


def test_a_model_whose_later_layers_look_into_earlier_ones_has_no_trunk():
    """Its last layer adds what the first one saw beside what it returns."""
    built, seen = opened("llama"), []
    first, last = llm.parts(built)[1][0], llm.parts(built)[1][-1]
    first.mlp.register_forward_hook(lambda _own, _args, output: seen.append(output))
    last.register_forward_hook(lambda _own, _args, output: output + seen.pop())
    run = torch.inference_mode()(lambda: built(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False).logits)
    assert trunk.find(built, of_layer(built, 2), run) is None


def test_layers_compute_again_after_an_error():
    built = opened("llama")
    reader = Reader(built, Logits(), trained=of_layer(built, 2))
    prepared = reader.prepare(batch())
    before = reader.mean_loss(prepared)
    with pytest.raises(ZeroDivisionError), reader.trunk.standing_in(prepared.kept):
        raise ZeroDivisionError
    assert reader.mean_loss(reader.prepare(batch())) == before


EXAMPLES = [{"text": f"w{i} w{(i * 7) % 54}", "label": i % 2} for i in range(24)]


def test_a_support_from_a_layer_on_has_as_many_positions_and_none_before(tiny_base, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("w1 w2 w3 w4 w5 w6 w7 " * 200)
    base = model.open_base(tiny_base)
    total = sum(p.numel() for p in base.parameters.values())
    by_example = choosing.on_examples(
        tiny_base, WORDS, EXAMPLES, labelled=True, fraction=0.01, samples=24, seed=0, first_layer=1
    )
    by_text = choosing.on_text(tiny_base, text, fraction=0.01, samples=4, length=16, seed=0, first_layer=1)
    for chosen in (by_example, by_text):
        assert sum(map(len, chosen.values())) == round(0.01 * total)
        assert all(name.startswith(("model.layers.1.", "model.norm")) for name in chosen), list(chosen)
        assert all(np.all(np.diff(at) > 0) for at in chosen.values())


@pytest.mark.parametrize(("options", "complaint"), [({"first_layer": 2}, "layer 2"), ({"fraction": 0.9}, "from layer 1 on")])
def test_what_cannot_be_chosen_is_said(tiny_base, options, complaint):
    settings = {"labelled": True, "fraction": 0.01, "samples": 24, "seed": 0, "first_layer": 1} | options
    with pytest.raises(SettingError, match=complaint):
        choosing.on_examples(tiny_base, WORDS, EXAMPLES, **settings)
