"""SmolLM2-135M-Instruct out of a GGUF file, as an ordinary Hugging Face directory in float32.

The files are written directly, so that the result depends on the GGUF file alone: the same weights have the same bytes
everywhere, and loading them later needs neither `gguf` nor a network. Two things are easy to get wrong and are done
here by hand: the rows of the query and key projections are stored in another order, and digits are tokens of their own.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SPECIAL = 3  # the token type of control tokens in a GGUF vocabulary


def convert(source: Path, out: Path) -> None:
    """Write the model and tokenizer of a GGUF file (Llama architecture) into the existing directory `out`."""
    reader = GGUFReader(source)
    read = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(read)
    _write(out / "config.json", config)
    _write(out / "generation_config.json", {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")})
    _write(out / "tokenizer_config.json", _tokenizer_config(read))
    _tokenizer(read).save(str(out / "tokenizer.json"))
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {_name(tensor.name): _weight(tensor, heads) for tensor in reader.tensors}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors writes it for its owner alone


def _config(read: dict[str, Any]) -> dict[str, Any]:
    """Say what the GGUF file says in the words of `LlamaConfig`."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": read["llama.embedding_length"],
        "intermediate_size": read["llama.feed_forward_length"],
        "num_hidden_layers": read["llama.block_count"],
        "num_attention_heads": read["llama.attention.head_count"],
        "num_key_value_heads": read["llama.attention.head_count_kv"],
        "head_dim": read["llama.rope.dimension_count"],
        "max_position_embeddings": read["llama.context_length"],
        "rms_norm_eps": float(str(np.float32(read["llama.attention.layer_norm_rms_epsilon"]))),  # 1e-05, without its noise
        "rope_theta": read["llama.rope.freq_base"],
        "vocab_size": read["llama.vocab_size"],
        "tie_word_embeddings": True,
        "bos_token_id": read["tokenizer.ggml.bos_token_id"],
        "eos_token_id": read["tokenizer.ggml.eos_token_id"],
        "pad_token_id": read["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float32",
    }


def _tokenizer_config(read: dict[str, Any]) -> dict[str, Any]:
    """Name the special tokens and the chat template for `AutoTokenizer`."""
    tokens = read["tokenizer.ggml.tokens"]
    roles = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": read["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": read["tokenizer.chat_template"],
        **{f"{role}_token": tokens[read[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()},
    }


def _tokenizer(read: dict[str, Any]) -> Tokenizer:
    """Build the byte-level BPE tokenizer: every digit stands alone, special tokens are never split."""
    tokens = read["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in read["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = read["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t, kind in zip(tokens, types, strict=True) if kind == SPECIAL]
    )
    return tokenizer


def _name(name: str) -> str:
    """Translate a tensor's name: `blk.3.attn_q.weight` becomes `model.layers.3.self_attn.q_proj.weight`."""
    match name.split("."):
        case ["blk", layer, part, kind]:
            return f"model.layers.{layer}.{BLOCK[part]}.{kind}"
        case ["token_embd", kind]:
            return f"model.embed_tokens.{kind}"
        case ["output_norm", kind]:
            return f"model.norm.{kind}"
    raise ValueError(f"unexpected tensor {name}")


def _weight(tensor: Any, heads: dict[str, int]) -> NDArray[np.float32]:
    """Dequantise one tensor; query and key rows go from interleaved halves, as GGUF wants them, back to two halves."""
    weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
    part = tensor.name.split(".")[-2]
    if part in heads:
        weight = weight.reshape(heads[part], -1, 2, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)
    return np.ascontiguousarray(weight)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
