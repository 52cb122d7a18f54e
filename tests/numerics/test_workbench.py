"""A base opened for a federation: what is refused, and what is said of it."""

from dataclasses import replace

import pytest
import torch

from fedkseed import workbench
from fedkseed.errors import BaseMismatch, SupportMismatch
from fedkseed.federation import LabelWords
from fedkseed.model import found, open_base
from fedkseed.settings import Equipment
from tests.benches import federation


@pytest.fixture
def genesis(tiny_base):
    return found(federation(tiny_base), open_base(tiny_base))


@pytest.fixture
def equipment(tiny_base):
    return Equipment(base=str(tiny_base), device="cpu")


def test_until_weights_are_asked_for_the_model_shows_the_base(genesis, equipment):
    bench = workbench.open_for(genesis, equipment)
    stored = open_base(equipment.base).parameters
    assert all(torch.equal(shown, stored[name].to(shown.dtype)) for name, shown in bench.base.parameters.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_machines_owner_says_what_is_computed_in(genesis, equipment, dtype):
    bench = workbench.open_for(genesis, replace(equipment, dtype=dtype))
    assert {p.dtype for p in bench.base.parameters.values() if p.dim() > 1} == {getattr(torch, dtype)}


def test_other_values_are_refused(genesis, equipment):
    with pytest.raises(BaseMismatch, match="not the weights that federation toy was founded on"):
        workbench.open_for(replace(genesis, base_digest="0" * 64), equipment)


def test_other_tensors_are_named(genesis, equipment):
    with pytest.raises(BaseMismatch, match="not in the genesis"):
        workbench.open_for(replace(genesis, layout=genesis.layout[:-1]), equipment)


def test_a_missing_support_is_said_before_values_are_compared(genesis, equipment):
    with pytest.raises(SupportMismatch, match="needs its support"):
        workbench.open_for(replace(genesis, base_digest="0" * 64, support_digest="0" * 64), equipment)


def test_of_a_wrong_base_nothing_else_is_reported(genesis, equipment):
    alike = LabelWords(kind="label-words", words=("nobody", "nothing"))  # the tokenizer knows neither
    with pytest.raises(BaseMismatch):
        workbench.open_for(replace(genesis, base_digest="0" * 64, objective=alike), equipment)
