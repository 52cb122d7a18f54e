"""How much more than its forward passes does a zeroth-order step cost?

Baseline: two plain Hugging Face forward passes of the same batch, with the language-model loss over all tokens, in the same
dtype. Beside it a step of the published kind, written from the paper: the direction is drawn by `torch.normal` anew for each
of four passes over the weights (+eps, -2 eps, +eps, update). A step of ours, of the structured family, is taken with all
weights in memory, with the weights of one layer in memory at a time (streamed), and with a sparse support.

    python -m benchmarks.step [--json] [--base DIR] [--support FILE] [--runs N] [--device cuda]
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.interleaved import medians, report
from fedkseed import federation as settings
from fedkseed import llm, model, workbench
from fedkseed.objectives import Encoded
from fedkseed.ram import Memory
from fedkseed.reading import Reader
from fedkseed.zo import passes
from fedkseed.zo.estimator import projected_gradient

EXAMPLE, BASE, SUPPORT = Path("examples/sentiment-full.toml"), Path(".cache/smollm2-135m"), Path(".cache/support.safetensors")
EPS, LR = 1e-3, 1e-6
SHAPES = ((1, 64), (8, 32), (8, 64))
DTYPES = (torch.float32, torch.bfloat16)


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
            p.add_(torch.normal(mean=0.0, std=1.0, size=p.shape, dtype=p.dtype, device=p.device), alpha=scale)

    move(EPS)
    plus = float(model(input_ids=tokens, labels=tokens).loss)
    move(-2 * EPS)
    minus = float(model(input_ids=tokens, labels=tokens).loss)
    move(EPS)
    move(-LR * (plus - minus) / (2 * EPS))


class Ours:
    """Local steps on a working model, as a client takes them."""

    def __init__(self, base: Path, support: Path | None, dtype: torch.dtype, device: str, memory: Memory) -> None:
        opened = model.open_base(base, support)
        genesis = model.found(settings.load(EXAMPLE), opened)
        weights = workbench.set_up(genesis, opened, dtype=dtype, device=device, memory=memory).weights
        self._reader, self._tick, self._size = Reader(opened.model, WholeText()), weights.tick, genesis.pool.size
        self._here, self._rng = weights.local(np.zeros(self._size, np.int64)), np.random.default_rng(0)

    def step(self, batch: Sequence[Encoded]) -> None:
        """One of them."""
        k, prepared = int(self._rng.integers(self._size)), self._reader.prepare(batch)
        self._here.perturb_(k, EPS)
        plus = self._reader.mean_loss(prepared)
        self._here.perturb_(k, -EPS)
        minus = self._reader.mean_loss(prepared)
        gradient = projected_gradient(float(plus), float(minus), 2 * EPS)
        self._here.move_(k, LR / self._tick * float(gradient or 0.0))


def rows(base: Path, support: Path, device: str, runs: int) -> list[dict[str, object]]:
    """One row for each dtype and shape of a batch."""
    return [row for dtype in DTYPES for row in _rows(base, support, device, dtype, runs)]


def _rows(base: Path, support: Path, device: str, dtype: torch.dtype, runs: int) -> list[dict[str, object]]:
    plainly: Any = llm.load_base(base)[0].to(device, dtype)  # type: ignore[arg-type] # hidden by a decorator
    ours = {"step": Ours(base, None, dtype, device, "resident"), "sparse": Ours(base, support, dtype, device, "resident")}
    if device == "cpu":
        ours["streamed"] = Ours(base, None, dtype, device, "streaming")
    result, rng = [], np.random.default_rng(0)
    for size, length in SHAPES:
        tokens = torch.from_numpy(rng.integers(0, 40_000, (size, length)))
        batch, there = [WholeText().encode({"tokens": line}) for line in tokens.tolist()], tokens.to(device)
        rivals: dict[str, Callable[[], object]] = {
            "two forwards": lambda there=there: plain(plainly, there),
            **{name: lambda kind=kind, batch=batch: kind.step(batch) for name, kind in ours.items()},
        }
        seconds = medians(rivals, runs) | medians({"published": lambda there=there: published(plainly, there, 7)}, 2, 1)
        times = {f"{name} s": taken for name, taken in seconds.items()}
        ratios = {f"{name} ratio": taken / seconds["two forwards"] for name, taken in list(seconds.items())[1:]}
        result.append({"dtype": str(dtype).removeprefix("torch."), "tokens": f"{size} x {length}", **times, **ratios})
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=BASE, help="directory of the base model")
    parser.add_argument("--support", type=Path, default=SUPPORT, help="positions of a sparse support")
    parser.add_argument("--device", default="cpu", help="what to compute on")
    parser.add_argument("--runs", type=int, default=7, help="turns of which the median counts")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    device = str(passes.find(arguments.device))
    measured = rows(arguments.base, arguments.support, device, arguments.runs)
    report("a hadamard step over two plain forward passes", measured, arguments.json)


if __name__ == "__main__":
    main()
