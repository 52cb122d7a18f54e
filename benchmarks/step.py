"""How much more than its forward passes does a zeroth-order step cost?

Baseline: two plain Hugging Face forward passes of the same batch, with the language-model loss over all tokens. Beside
it a step of the published kind, written from the paper: the direction is drawn by `torch.normal` anew for each of four
passes over the weights (+eps, -2 eps, +eps, update). A step of ours is taken twice: with all weights in memory, and
streamed.

    python -m benchmarks.step [--json] [--base DIR] [--runs N]
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.interleaved import medians, report
from fedkseed import llm
from fedkseed.federation import Pool
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader
from fedkseed.zo import layout
from fedkseed.zo.estimator import projected_gradient
from fedkseed.zo.materialise import Weights, Working
from fedkseed.zo.streaming import Anatomy, Streamed

EPS, LR = 1e-3, 1e-6
POOL = Pool(family="hadamard", size=4096, seed=1)
SHAPES = ((1, 64), (8, 32), (8, 64))


class WholeText:
    """The language-model loss over all tokens, as the baseline computes it."""

    def encode(self, example: Mapping[str, Any]) -> Encoded:
        """Every token predicts the next."""
        tokens = example["tokens"]
        return Encoded(tokens=tuple(tokens), reads=tuple(range(len(tokens) - 1)), targets=tuple(tokens[1:]))

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of every token; hits are not looked at."""
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none"), targets


@torch.inference_mode()
def plain(model: torch.nn.Module, tokens: torch.Tensor) -> tuple[float, float]:
    """Two forward passes and their losses."""
    return float(model(input_ids=tokens, labels=tokens).loss), float(model(input_ids=tokens, labels=tokens).loss)


@torch.inference_mode()
def published(model: torch.nn.Module, tokens: torch.Tensor, seed: int) -> None:
    """A step as MeZO and FedKSeed describe it: in place, directions drawn again for every pass."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def move(scale: float) -> None:
        torch.manual_seed(seed)
        for p in parameters:
            p.add_(torch.normal(mean=0.0, std=1.0, size=p.shape, dtype=p.dtype), alpha=scale)

    move(EPS)
    plus = float(model(input_ids=tokens, labels=tokens).loss)
    move(-2 * EPS)
    minus = float(model(input_ids=tokens, labels=tokens).loss)
    move(EPS)
    move(-LR * (plus - minus) / (2 * EPS))


class Ours:
    """Local steps on a working model."""

    def __init__(self, model: transformers.PreTrainedModel, weights: Working) -> None:
        self._reader, self._tick = Reader(model, WholeText()), weights.tick
        self._here, self._rng = weights.local(np.zeros(POOL.size, np.int64)), np.random.default_rng(0)

    def step(self, batch: list[Encoded]) -> None:
        """One of them."""
        k, prepared = int(self._rng.integers(POOL.size)), self._reader.prepare(batch)
        self._here.perturb_(k, EPS)
        plus = self._reader.mean_loss(prepared)
        self._here.perturb_(k, -EPS)
        minus = self._reader.mean_loss(prepared)
        gradient = projected_gradient(float(plus), float(minus), EPS)
        self._here.move_(k, LR / self._tick * float(gradient or 0.0))


def resident(model: transformers.PreTrainedModel) -> Ours:
    """Steps with all weights in memory, beside their base."""
    parameters = layout.trainable(model)
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    slots = layout.place(POOL, layout.describe(parameters))
    return Ours(model, Weights(pool=POOL, slots=slots, base=kept, working=parameters, tick=LR / 16))


def streamed(model: transformers.PreTrainedModel) -> Ours:
    """Steps with the weights of one layer in memory at a time."""
    kept = {name: p.detach() for name, p in layout.trainable(model).items()}
    slots = layout.place(POOL, layout.describe(kept))
    embedding, layers, head = llm.parts(model)
    anatomy, dtypes = Anatomy(embedding=embedding, layers=layers, head=head), dict.fromkeys(kept, torch.float32)
    weights = Streamed(pool=POOL, slots=slots, base=kept, model=model, anatomy=anatomy, dtypes=dtypes, tick=LR / 16)
    return Ours(model, weights)


def rows(base: Path, runs: int) -> list[dict[str, object]]:
    """One row per batch shape."""
    model, rng = llm.load_base(base)[0], np.random.default_rng(0)
    ours, sparing = resident(model), streamed(llm.load_base(base)[0])
    result = []
    for size, length in SHAPES:
        tokens = torch.from_numpy(rng.integers(0, 40_000, (size, length)))
        batch = [WholeText().encode({"tokens": line}) for line in tokens.tolist()]
        seconds = medians(
            {
                "plain": lambda tokens=tokens: plain(model, tokens),
                "ours": lambda batch=batch: ours.step(batch),
                "streamed": lambda batch=batch: sparing.step(batch),
                "published": lambda tokens=tokens: published(model, tokens, 7),
            },
            runs,
        )
        result.append(
            {
                "tokens": f"{size} x {length}",
                "two forwards s": seconds["plain"],
                "step s": seconds["ours"],
                "streamed s": seconds["streamed"],
                "published s": seconds["published"],
                "step ratio": seconds["ours"] / seconds["plain"],
                "streamed ratio": seconds["streamed"] / seconds["plain"],
                "published ratio": seconds["published"] / seconds["plain"],
            }
        )
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path(".cache/smollm2-135m"), help="directory of the base model")
    parser.add_argument("--runs", type=int, default=7, help="turns of which the median counts")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    report("a hadamard step over two plain forward passes, float32", rows(arguments.base, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
