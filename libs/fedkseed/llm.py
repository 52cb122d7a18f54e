"""The language model: loading a base, the dtype to compute in, its parts, and text in and out of it."""

import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from fedkseed.errors import BaseMissing


def load_base(base: str | Path) -> tuple[transformers.PreTrainedModel, Any]:
    """Load a causal language model in its stored dtype, with its tokenizer.

    A base is data: its weights are read from safetensors alone, and code that comes with it is never run.

    Raises:
        BaseMissing: it cannot be found or loaded, or would need code of its own or pickled weights.
    """
    options = {"dtype": "auto", "output_loading_info": True, "ignore_mismatched_sizes": True, "use_safetensors": True}
    try:
        with _LOADING:
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(base, **_DATA_ONLY, **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(base, **_DATA_ONLY)
    except _UNLOADABLE as error:
        if "trust_remote_code" in str(error):
            raise BaseMissing(
                f"base model {base}: it comes with code of its own, which is never run here: take a version of it that "
                "transformers has the code of, or save it with one of transformers' own classes"
            ) from error
        raise BaseMissing(f"base model {base}: {_reason(base, error)}") from error
    model, info = loaded
    if faulty := sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}):
        raise BaseMissing(
            f"base model {base}: tensor {faulty[0]}: not in its files, or not of the shape that its config.json asks for"
        )
    model.train(False)
    return model, tokenizer


UNFIT = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)  # what code says of inputs that are new to it
_DATA_ONLY = {"trust_remote_code": False}
_LOADING = threading.Lock()  # transformers changes torch for all threads while it loads: two at once break each other
_UNLOADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, StrictDataclassError)


def _reason(base: str | Path, error: Exception) -> str:
    """The first sentence of what the libraries say, in one line."""
    sentence = " ".join(str(error).split()).split(". ")[0].removesuffix(".")
    return sentence if Path(base).is_dir() else f"no such directory, and not a model id that can be loaded: {sentence}"


def compute_dtype(device: torch.device) -> torch.dtype:
    """The dtype that forward passes are fast in on a device: bfloat16 where it multiplies that natively."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    features = torch.cpu.get_capabilities()
    return torch.bfloat16 if features.get("amx_bf16") or features.get("avx512_bf16") or features.get("bf16") else torch.float32


def dtype_named(name: str | None) -> torch.dtype | None:
    """What settings call `float32` or `bfloat16`; none where they leave it to the device."""
    return None if name is None else getattr(torch, name)


def computed_in(parameter: torch.Tensor, dtype: torch.dtype) -> torch.dtype:
    """What a parameter is computed in, in a model that computes in a dtype: its one-dimensional parameters stay float32.

    Norm weights and biases are large beside a perturbation: rounded to 16 bits they would swallow it.
    """
    return torch.float32 if parameter.dim() == 1 else dtype


def compute_in_(model: torch.nn.Module, dtype: torch.dtype, elsewhere: Container[torch.nn.Parameter] = ()) -> None:
    """Let a model compute in a dtype: convert its parameters, and have modules of vectors return what matrices take.

    Args:
        model: to be changed.
        dtype: see `computed_in`.
        elsewhere: parameters that are converted by whoever shows them.
    """
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        for parameter in own:
            if parameter not in elsewhere:
                parameter.data = parameter.data.to(computed_in(parameter, dtype))
        if dtype != torch.float32 and any(p.dim() == 1 for p in own):
            _return_as_(module, dtype)


def _return_as_(module: Any, dtype: torch.dtype) -> None:
    """Let a module with float32 vectors return another dtype; a bias is added after the product, in float32."""
    kind = type(module)
    if issubclass(kind, torch.nn.Linear):
        module.forward = lambda x: (functional.linear(x, module.weight) + module.bias).to(dtype)
    elif issubclass(kind, Conv1D):
        module.forward = lambda x: (x @ module.weight + module.bias).to(dtype)
    else:
        module.register_forward_hook(lambda _module, _args, output: output.to(dtype))


def parts(model: Any) -> tuple[torch.nn.Module, list[torch.nn.Module], torch.nn.Module]:
    """A model's input embedding, its layers, which are what its authors say must not be split, and its output embedding."""
    kinds, layers, inside = set(model._no_split_modules or ()), [], set()  # noqa: SLF001 - it has no public name
    for module in model.modules():
        if type(module).__name__ in kinds and module not in inside:
            layers.append(module)
            inside.update(module.modules())
    return model.get_input_embeddings(), layers, model.get_output_embeddings()


@contextmanager
def before_each_pass(model: Any, check: Callable[[], None]) -> Iterator[None]:
    """Have a function called before every forward pass of a model, those of generating text included; it may raise."""
    hook = model.register_forward_pre_hook(lambda *_: check())
    try:
        yield
    finally:
        hook.remove()


def entrance(model: Any) -> torch.device:
    """Where a model takes tokens."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def passages(tokenizer: Any, text: str, count: int, length: int, generator: np.random.Generator) -> list[list[int]]:
    """Passages of so many tokens from anywhere in a text; none when it is too short."""
    found, reach = [], 8 * length  # a token is rarely longer than 8 characters
    for start in generator.integers(0, max(1, len(text) - reach), count):
        tokens = tokenizer(text[start : start + reach], add_special_tokens=False)["input_ids"][:length]
        if len(tokens) == length:
            found.append(tokens)
    return found


def text_loss(model: Any, batch: Sequence[Sequence[int]]) -> torch.Tensor:
    """The language-model loss over all tokens of passages of one length, with a graph for its gradient."""
    tokens = torch.tensor(batch).to(entrance(model))
    loss: torch.Tensor = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    return loss


@torch.inference_mode()
def respond(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], tokens: int) -> list[str]:
    """Continue every prompt greedily with at most so many tokens."""
    options = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": tokenizer.eos_token_id}
    responses = []
    for line in prompts:
        prompt = torch.tensor([line]).to(entrance(model))
        output = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        responses.append(tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True))
    return responses
