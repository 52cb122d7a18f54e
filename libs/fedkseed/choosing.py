"""A sparse support, chosen once by whoever founds a federation: on a public text, or on examples for its objective.

Examples are to be like those of clients, and none of theirs. What they have in common is left out of their gradients: a base's
liking for one of the label words moves all texts at once and is soon unlearned, and directions that carry it drown what tells
texts apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkseed import llm, objectives, trunk
from fedkseed.errors import EmptyData, FileError, SettingError
from fedkseed.federation import Objective
from fedkseed.model import Base, open_base
from fedkseed.objectives import Encoded, LabelWordsTask
from fedkseed.reading import Reader
from fedkseed.zo import support
from fedkseed.zo.layout import Support

BATCH = 4  # passages or examples whose gradient is taken together


def on_text(base: str, text: Path, *, fraction: float, samples: int, length: int, seed: int, first_layer: int = 0) -> Support:
    """The parameters with the largest squared gradients of the language-model loss on passages of a text.

    Args:
        base: a Hugging Face model id or a local directory.
        text: a file of public text, UTF-8.
        fraction: share of the trainable parameters.
        samples: passages looked at, `BATCH` at a time.
        length: tokens of a passage.
        seed: which passages.
        first_layer: the first whose parameters may be chosen; what layers before it make of a batch is then made once.

    Raises:
        SettingError: the fraction is not above 0 and at most 1, or more than what may be chosen; there is no such layer.
        BaseMissing: the base cannot be found or loaded.
        FileError: the text cannot be read.
        EmptyData: the text is shorter than a passage.
    """
    _check_fraction(fraction)
    try:
        words = text.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{text}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{text}: {error}") from error
    opened = open_base(base)
    passages = llm.passages(opened.tokenizer, words, samples, length, np.random.default_rng(seed))
    if not passages:
        raise EmptyData(f"{text}: shorter than a passage of {length} tokens")
    losses = (llm.text_loss(opened.model, passages[i : i + BATCH]) for i in range(0, len(passages), BATCH))
    parameters, share = _candidates(opened, first_layer, fraction, lambda: llm.text_loss(opened.model, passages[:1]))
    return support.largest(support.squared_gradients(parameters, losses), share)


def on_examples(
    base: str,
    objective: Objective,
    examples: Sequence[Mapping[str, Any]],
    *,
    labelled: bool,
    fraction: float,
    samples: int,
    seed: int,
    first_layer: int = 0,
) -> Support:
    """The parameters whose gradients agree most on what examples are to teach.

    Args:
        base: a Hugging Face model id or a local directory.
        objective: of the federation.
        examples: as the objective reads them.
        labelled: whether their labels count; the base guesses them otherwise.
        fraction: share of the trainable parameters.
        samples: examples looked at, at most, `BATCH` at a time.
        seed: which examples.
        first_layer: see `on_text`.

    Raises:
        SettingError: as of `on_text`, or responses are to be guessed.
        BaseMissing: the base cannot be found or loaded.
        EmptyData: all examples have the same label.
    """
    _check_fraction(fraction)
    opened = open_base(base)
    task = objectives.bind(objective, opened.tokenizer)
    reader, order = Reader(opened.model, task), np.random.default_rng(seed).permutation(len(examples))[:samples]
    told = evidence(reader, [task.encode(examples[i]) for i in order], labelled=labelled)

    def loss(batch: Sequence[Evidence]) -> torch.Tensor:
        losses, _ = reader.losses(reader.prepare([one.encoded for one in batch]))
        weights = torch.tensor([weight for one in batch for weight in one.weights])
        return (weights * losses).sum() / len(batch)

    losses = (loss(told[i : i + BATCH]) for i in range(0, len(told), BATCH))
    parameters, share = _candidates(opened, first_layer, fraction, lambda: loss(told[:1]))
    return support.steadiest(parameters, losses, share)


def _candidates(
    opened: Base, first_layer: int, fraction: float, run: Callable[[], torch.Tensor]
) -> tuple[Mapping[str, torch.nn.Parameter], float]:
    """What may be chosen, and the share of it that is a fraction of all parameters."""
    if not first_layer:
        return opened.parameters, fraction
    reached = trunk.from_layer(opened.model, first_layer, run)
    parameters = {name: p for name, p in opened.parameters.items() if p in reached}
    total, left = (sum(p.numel() for p in some.values()) for some in (opened.parameters, parameters))
    if fraction * total > left:
        raise SettingError(f"fraction: {fraction} of the parameters are more than there are from layer {first_layer} on")
    return parameters, fraction * total / left


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an example says of what is to be learned: the sum of the losses of its targets, by their weights."""

    encoded: Encoded
    weights: tuple[float, ...]


def evidence(reader: Reader, examples: Sequence[Encoded], *, labelled: bool) -> list[Evidence]:
    """Of a response, its mean loss; of labels, the losses of all, by weights that say what the base does not know of the text.

    With labels a weight is 1 for the right one and 0 for others, less the probability that the base gives it; without them,
    1 for the one that the base guesses. What such weights are on average is taken off: it moves all texts at once. The base
    is asked without its liking for a label, which is the median of the label's score over the examples.

    Raises:
        SettingError: the labels of an objective without any are to be guessed.
        EmptyData: all examples have the same label.
    """
    task = reader.task
    if not isinstance(task, LabelWordsTask):
        if not labelled:
            raise SettingError("only labels can be guessed; responses are needed")
        return [Evidence(encoded=one, weights=(1 / len(one.targets),) * len(one.targets)) for one in examples]
    asked = [_answered(one, task) for one in examples]
    known = _scores(reader, asked)
    if labelled:
        answers = torch.tensor([task.labels.index(one.targets[0]) for one in examples])
        if (answers == answers[0]).all():
            raise EmptyData("examples of one label do not say what tells labels apart")
        wanted = torch.nn.functional.one_hot(answers, len(task.labels)) - known.softmax(dim=1)
    else:
        wanted = torch.nn.functional.one_hot(known.argmax(dim=1), len(task.labels)).double()
    weights = wanted - wanted.mean(dim=0)
    return [Evidence(encoded=one, weights=tuple(own)) for one, own in zip(asked, weights.tolist(), strict=True)]


@torch.inference_mode()
def _scores(reader: Reader, asked: Sequence[Encoded]) -> torch.Tensor:
    """Log-odds of every label of every example, float64[examples, labels]; the median over examples is 0 for each label."""
    losses = [reader.losses(reader.prepare(asked[i : i + BATCH]))[0] for i in range(0, len(asked), BATCH)]
    scores = -torch.cat(losses).double().reshape(len(asked), -1)
    scores -= scores.mean(dim=1, keepdim=True)
    return scores - scores.median(dim=0).values


def _answered(encoded: Encoded, task: LabelWordsTask) -> Encoded:
    """An example that has every label as a target."""
    return replace(encoded, reads=encoded.reads * len(task.labels), targets=tuple(task.labels))


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction <= 1:  # nor is what is not a number
        raise SettingError(f"fraction: must be above 0 and at most 1, not {fraction}")
