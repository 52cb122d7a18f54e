"""Small random models of several architectures, and an objective that shows what they say."""

from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

WORDS, HEADS, WIDTH = 64, 4, 64


def llama(layers=2, width=WIDTH, **options):
    sizes = {"vocab_size": WORDS, "num_hidden_layers": layers, "num_attention_heads": HEADS}
    return LlamaForCausalLM(LlamaConfig(**sizes, hidden_size=width, intermediate_size=64, **options))


def gpt2(layers=2):
    return GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_layer=layers, n_head=HEADS, n_embd=WIDTH))


def bloom(layers=2):
    return BloomForCausalLM(BloomConfig(vocab_size=WORDS, n_layer=layers, n_head=HEADS, hidden_size=WIDTH))


def mamba(layers=2):
    return MambaForCausalLM(MambaConfig(vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=layers))


class Logits:
    """An objective whose losses are the logits themselves."""

    def losses(self, logits, targets):
        return logits, targets
