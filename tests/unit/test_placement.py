"""A model is on one GPU where it has room, and its layers on several where it has not."""

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from transformers import LlamaConfig, LlamaForCausalLM

from fedkseed import model, workbench
from fedkseed.errors import SettingError
from fedkseed.placement import device_map, place_
from fedkseed.ram import SHARE
from fedkseed.zo.trainer import train
from tests.benches import federation


@pytest.fixture
def deep():
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=4, tie_word_embeddings=True, **shape))


def size(module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def test_layers_go_on_to_the_next_gpu_where_one_is_full(deep):
    free = int(0.9 * size(deep) / SHARE)
    parts = device_map(deep, size(deep), {0: free, 1: free})
    assert [parts[f"model.layers.{i}"] for i in range(4)] == [0, 0, 1, 1]
    assert parts["model.embed_tokens"] == parts["lm_head"] == 0, "one tensor"
    assert parts["model.norm"] == 1


def test_weights_that_are_kept_twice_need_twice_the_room(deep):
    free = int(1.1 * size(deep) / SHARE)
    assert set(device_map(deep, size(deep), {0: free, 1: free}).values()) == {0}
    assert set(device_map(deep, 2 * size(deep), {0: 2 * free, 1: 2 * free}).values()) == {0}
    assert set(device_map(deep, 2 * size(deep), {0: free, 1: 2 * free}).values()) == {0, 1}


def test_a_model_without_room_anywhere_is_refused(deep):
    with pytest.raises(SettingError, match="has no room on 2 GPUs"):
        device_map(deep, size(deep), {0: 1000, 1: 1000})


def test_a_model_stays_on_one_device_where_no_other_may_be_used(deep):
    place_(deep, torch.device("cpu"), needed_bytes=10**15, others={})
    assert deep.device == torch.device("cpu")


def measured(base, placed):
    opened = model.open_base(base)
    if placed:
        dispatch_model(opened.model, {"model": "cpu", "lm_head": "cpu"}, force_hooks=True)
    genesis = model.found(federation(base), opened)
    bench = workbench.set_up(genesis, opened, dtype=torch.float32)
    batch = bench.reader.prepare(
        [bench.task.encode({"text": "w1 w2", "label": 1}), bench.task.encode({"text": "w3", "label": 0})]
    )
    nowhere = np.zeros(genesis.pool.size, np.int64)
    return train(
        bench.weights,
        bench.reader.mean_loss,
        [batch] * 3,
        coefficients=nowhere,
        directions=np.arange(3),
        eps=1e-3,
        lr=genesis.lr,
    )


def test_training_is_the_same_where_accelerate_carries_tensors_between_parts(tiny_base):
    plain, spread = measured(tiny_base, placed=False), measured(tiny_base, placed=True)
    assert plain.gradients.tobytes() == spread.gradients.tobytes()
    assert plain.loss == spread.loss
