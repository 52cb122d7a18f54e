"""The language model: loading a base, the dtype to compute in, and the objectives that training and scoring share.

Rules kept here: examples of unlike length share one row, where the model keeps them apart, and are padded on the right
otherwise, where a causal model never looks; hidden states are gathered before the output embedding, so logits exist only
where they are read.
"""

import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from fedkseed.errors import BaseError, BaseMissing, SettingError
from fedkseed.federation import LabelWords, Objective, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One example as tokens: the logits at reads[i] are to predict targets[i]."""

    tokens: tuple[int, ...]
    reads: tuple[int, ...]
    targets: tuple[int, ...]


class Task(Protocol):
    """An objective bound to a tokenizer."""

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Turn an example into tokens."""

    def losses(self, reader: "Reader", batch: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit (1 where the best answer was the target) of every target, shapes (targets,)."""


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


def bind(objective: Objective, tokenizer: Any) -> Task:
    """Bind an objective to the tokenizer of its base.

    Raises:
        SettingError: two label words start with the same token, or a chat template is wanted and there is none.
        BaseError: the tokenizer has no end-of-text token.
    """
    match objective:
        case LabelWords():
            return LabelWordsTask(objective, tokenizer)
        case Response():
            return ResponseTask(objective, tokenizer)


class LabelWordsTask:
    """Cross-entropy over the label words at the end of the prompt."""

    def __init__(self, objective: LabelWords, tokenizer: Any) -> None:
        self._tokenizer, self._limit = tokenizer, objective.max_tokens
        self._head, self._tail = objective.template.split("{text}", 1)
        self._words = [_tokens(tokenizer, word)[0] for word in objective.words]
        if len(set(self._words)) < len(self._words):
            raise SettingError(f"objective.words: {list(objective.words)} do not differ in their first token")

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Fill the template; a long text loses its end, never the words after it."""
        tail = _tokens(self._tokenizer, self._tail) if self._tail else []
        head = self._tokenizer(self._head + example["text"])["input_ids"][: max(1, self._limit - len(tail))]
        return Encoded(tokens=(*head, *tail), reads=(len(head) + len(tail) - 1,), targets=(int(example["label"]),))

    def losses(self, reader: "Reader", batch: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit of every example, shapes (batch,)."""
        logits, targets = reader.logits(batch)
        return _score(logits[:, _to(logits.device, torch.tensor(self._words))], targets)


class ResponseTask:
    """Language-model loss over the response's tokens and the end of the text, the prompt masked."""

    def __init__(self, objective: Response, tokenizer: Any) -> None:
        self._tokenizer, self._template, self._limit = tokenizer, objective.template, objective.max_tokens
        if self._template == "chat" and not tokenizer.chat_template:
            raise SettingError("objective.template: this base has no chat template; give a text that contains {prompt}")
        if tokenizer.eos_token_id is None:
            raise BaseError("the tokenizer of this base has no end-of-text token, so a response would have no end")

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Prompt and response; a long response loses its end, a long prompt its beginning."""
        response = [*_tokens(self._tokenizer, example["response"]), self._tokenizer.eos_token_id][: self._limit - 1]
        prompt = self.prompt(example)[-(self._limit - len(response)) :]
        prompt = prompt or [self._tokenizer.eos_token_id]  # something must come before the first token that is scored
        reads = range(len(prompt) - 1, len(prompt) + len(response) - 1)
        return Encoded(tokens=(*prompt, *response), reads=tuple(reads), targets=tuple(response))

    def prompt(self, example: Mapping[str, Any]) -> list[int]:
        """The tokens before the response."""
        if self._template != "chat":
            tokens: list[int] = self._tokenizer(self._template.replace("{prompt}", example["prompt"]))["input_ids"]
            return tokens
        turn = [{"role": "user", "content": example["prompt"]}]
        encoded = self._tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    def losses(self, reader: "Reader", batch: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and hit of every response token, shapes (tokens,)."""
        return _score(*reader.logits(batch))


class Reader:
    """A causal model, read in batches.

    Examples of unlike length are packed: they stand behind one another in one row, and attention is told where each
    begins, so that nothing is computed for padding. That is done where the model really keeps them apart, which is tried
    once, and where a longer row costs less than padding.

    Args:
        model: a causal language model; its weights may change from one batch to the next.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def logits(self, batch: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits where they are read, float32 (reads, vocabulary), and the targets, int64 (reads,)."""
        lengths = [len(encoded.tokens) for encoded in batch]
        arranged = _packed if self._is_shorter_packed(lengths) and self._keeps_apart else _padded
        rows, columns, inputs = arranged(batch)
        targets = torch.tensor([target for encoded in batch for target in encoded.targets])
        end = self._model.get_output_embeddings().weight.device
        with _gathering(self._model, _to(end, rows), _to(end, columns)):
            logits = self._run(**inputs)
        return logits[:, 0].float(), _to(end, targets)

    def _is_shorter_packed(self, lengths: Sequence[int]) -> bool:
        """Whether attention over one long row costs less than padding saves.

        A token costs some 24 h^2 operations a layer in matrices of width h; a pair of tokens 4 h in attention. One row is
        masked and looks at all its pairs, padded ones look at what came before.
        """
        tokens, padded = sum(lengths), len(lengths) * max(lengths)
        width: int = self._model.config.get_text_config().hidden_size
        return tokens**2 - padded * max(lengths) // 2 < 6 * width * (padded - tokens)

    @cached_property
    def _keeps_apart(self) -> bool:
        """Whether a sequence gives the same logits behind another one as alone: some architectures ignore where it begins."""
        vocabulary, begin = self._model.config.get_text_config().vocab_size, torch.arange(8)[None]
        row = torch.arange(16)[None] % vocabulary
        apart = self._try(input_ids=row, position_ids=begin.repeat(1, 2))[:, 8:]
        mixed = self._try(input_ids=row)[:, 8:]
        alone = self._try(input_ids=row[:, 8:])
        return float((apart - alone).norm()) <= 0.1 * float((mixed - alone).norm())

    @torch.inference_mode()
    def _try(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self._run(**inputs)

    def _run(self, **inputs: torch.Tensor) -> torch.Tensor:
        begin = _entrance(self._model)
        logits: torch.Tensor = self._model(**{name: _to(begin, line) for name, line in inputs.items()}, use_cache=False).logits
        return logits


_Arranged = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]  # rows and columns that are read; what the model takes


def _padded(batch: Sequence[Encoded]) -> _Arranged:
    """One example a row."""
    width = max(len(encoded.tokens) for encoded in batch)
    tokens = torch.tensor([[*encoded.tokens, *([0] * (width - len(encoded.tokens)))] for encoded in batch])
    rows = torch.tensor([row for row, encoded in enumerate(batch) for _ in encoded.reads])
    columns = torch.tensor([column for encoded in batch for column in encoded.reads])
    return rows, columns, {"input_ids": tokens}


def _packed(batch: Sequence[Encoded]) -> _Arranged:
    """One row, in which positions begin at zero with each example."""
    starts = accumulate((len(encoded.tokens) for encoded in batch), initial=0)
    columns = torch.tensor([start + column for start, encoded in zip(starts, batch, strict=False) for column in encoded.reads])
    tokens = torch.tensor([[token for encoded in batch for token in encoded.tokens]])
    positions = torch.tensor([[position for encoded in batch for position in range(len(encoded.tokens))]])
    return torch.zeros_like(columns), columns, {"input_ids": tokens, "position_ids": positions}


def _entrance(model: Any) -> torch.device:
    """Where a model takes tokens."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def _to(device: torch.device, line: torch.Tensor) -> torch.Tensor:
    """The same on a device; nobody waits for what a GPU does before it takes it."""
    return line.to(device, non_blocking=True)


@contextmanager
def _gathering(model: Any, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Let the output embedding see only hidden[rows, columns]: whatever a model does to its logits still happens."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0][rows, columns][:, None],))
    try:
        yield
    finally:
        hook.remove()


def _score(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return functional.cross_entropy(logits, targets, reduction="none"), (logits.argmax(-1) == targets).float()


def _tokens(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


@torch.inference_mode()
def mean_loss(reader: Reader, task: Task, batch: Sequence[Encoded]) -> torch.Tensor:
    """Mean loss of a batch, in one forward pass; a scalar that is still on its device, where it may not be computed yet."""
    return task.losses(reader, batch)[0].mean()


@torch.inference_mode()
def score(reader: Reader, task: Task, examples: Sequence[Encoded], batch: int) -> dict[str, float]:
    """Mean loss and accuracy over all targets of held-out examples; batches hold examples of like length."""
    ordered = sorted(examples, key=lambda encoded: len(encoded.tokens))
    results = [task.losses(reader, ordered[i : i + batch]) for i in range(0, len(ordered), batch)]
    losses, hits = (torch.cat(column) for column in zip(*results, strict=True))
    return {"loss": float(losses.double().mean()), "accuracy": float(hits.double().mean())}


def passages(tokenizer: Any, text: str, count: int, length: int, generator: np.random.Generator) -> list[list[int]]:
    """Passages of so many tokens from anywhere in a text; none when it is too short."""
    found = []
    for start in generator.integers(0, max(1, len(text) - 8 * length), count):
        tokens = _tokens(tokenizer, text[start : start + 8 * length])[:length]  # a token is rarely longer than 8 characters
        if len(tokens) == length:
            found.append(tokens)
    return found


def text_loss(model: Any, batch: Sequence[Sequence[int]]) -> torch.Tensor:
    """The language-model loss over all tokens of passages of one length, with a graph for its gradient."""
    tokens = _to(_entrance(model), torch.tensor(batch))
    loss: torch.Tensor = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    return loss


@torch.inference_mode()
def respond(model: Any, task: ResponseTask, tokenizer: Any, examples: Sequence[Mapping[str, Any]], tokens: int) -> list[str]:
    """Continue every example's prompt greedily with at most so many tokens."""
    responses = []
    for example in examples:
        prompt = _to(_entrance(model), torch.tensor([task.prompt(example)]))
        options = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": tokenizer.eos_token_id}
        output = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        responses.append(tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True))
    return responses
