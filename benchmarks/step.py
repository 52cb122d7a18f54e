"""How much more than its forward passes does a zeroth-order step cost?

Baseline: two plain Hugging Face forward passes of the same batch, with the language-model loss over all tokens. Beside
it a step of the published kind, written from the paper: the direction is drawn by `torch.normal` anew for each of four
passes over the weights (+eps, -2 eps, +eps, update).

    python -m benchmarks.step [--json] [--base DIR] [--runs N] [--device cuda]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers

from benchmarks.interleaved import medians, report
from fedkseed import llm
from fedkseed.federation import Pool
from fedkseed.zo import layout, passes
from fedkseed.zo.estimator import projected_gradient
from fedkseed.zo.materialise import Weights

EPS, LR = 1e-3, 1e-6
SHAPES = ((1, 64), (8, 32), (8, 64))


class WholeText:
    """The language-model loss over all tokens, as the baseline computes it."""

    def encode(self, tokens: list[int]) -> llm.Encoded:
        """Every token predicts the next."""
        return llm.Encoded(tokens=tuple(tokens), reads=tuple(range(len(tokens) - 1)), targets=tuple(tokens[1:]))

    def losses(self, reader: llm.Reader, batch: list[llm.Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of every token; hits are not looked at."""
        logits, targets = reader.logits(batch)
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
            p.add_(torch.normal(mean=0.0, std=1.0, size=p.shape, dtype=p.dtype, device=p.device), alpha=scale)

    move(EPS)
    plus = float(model(input_ids=tokens, labels=tokens).loss)
    move(-2 * EPS)
    minus = float(model(input_ids=tokens, labels=tokens).loss)
    move(EPS)
    move(-LR * (plus - minus) / (2 * EPS))


def rows(base: Path, runs: int, device: torch.device) -> list[dict[str, object]]:
    """One row per batch shape."""
    model, _ = llm.load_base(base)
    model.to(device)
    parameters = layout.trainable(model)
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    pool = Pool(family="hadamard", size=4096, seed=1)
    slots = layout.place(pool, layout.describe(parameters))
    weights = Weights(pool=pool, slots=slots, base=kept, working=parameters, tick=LR / 16)
    here, task, reader = weights.local(np.zeros(4096, np.int64)), WholeText(), llm.Reader(model)
    rng = np.random.default_rng(0)
    settle = torch.cuda.synchronize if device.type == "cuda" else lambda: None  # a GPU works on after it was asked

    def ours(batch: list[llm.Encoded]) -> None:
        k = int(rng.integers(4096))
        here.perturb_(k, EPS)
        plus = llm.mean_loss(reader, task, batch)
        here.perturb_(k, -EPS)
        gradient = projected_gradient(*torch.stack([plus, llm.mean_loss(reader, task, batch)]).tolist(), EPS)
        here.move_(k, LR / weights.tick * float(gradient or 0.0))

    result = []
    for size, length in SHAPES:
        tokens = torch.from_numpy(rng.integers(0, 40_000, (size, length))).to(device)
        batch = [task.encode(line) for line in tokens.tolist()]
        seconds = medians(
            {
                "plain": lambda tokens=tokens: plain(model, tokens),
                "ours": lambda batch=batch: ours(batch),
                "published": lambda tokens=tokens: published(model, tokens, 7),
            },
            runs,
            settle=settle,
        )
        result.append(
            {
                "tokens": f"{size} x {length}",
                "two forwards s": seconds["plain"],
                "step s": seconds["ours"],
                "published s": seconds["published"],
                "step ratio": seconds["ours"] / seconds["plain"],
                "published ratio": seconds["published"] / seconds["plain"],
            }
        )
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path(".cache/smollm2-135m"), help="directory of the base model")
    parser.add_argument("--runs", type=int, default=7, help="turns of which the median counts")
    parser.add_argument("--device", default="cpu", help="what to compute on")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    measured = rows(arguments.base, arguments.runs, passes.find(arguments.device))
    report("a hadamard step over two plain forward passes, float32", measured, arguments.json)


if __name__ == "__main__":
    main()
