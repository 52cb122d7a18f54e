"""How fast is a model rebuilt from its ledger?

Baseline: `torch.add(base, c, out=work)` over the same weights, which reads two models and writes one. Beside it the loop
of the published code, written from the paper: one `torch.normal` and one addition per seed and tensor, extrapolated from
a few seeds to all K. The same Gaussian directions cannot be had from one table: a rebuild with the family `gaussian` draws them
all, and is extrapolated from a few tiles.

    python -m benchmarks.rebuild [--json] [--base DIR] [--runs N] [--device cuda]
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
from fedkseed.pool.device import Placed
from fedkseed.pool.seed_pool import TILE
from fedkseed.zo import layout, passes
from fedkseed.zo.materialise import Weights

SIZE, TICK, SEEDS = 4096, 1e-8, 5
TILES = 64  # of which the time of the unstructured family is extrapolated: all seeds, some of the positions
THREADS = torch.get_num_threads()
Tensors = Mapping[str, torch.Tensor]


def rows(base: Path, runs: int, device: torch.device) -> list[dict[str, object]]:
    """One row per dtype that weights are stored in."""
    settle = torch.cuda.synchronize if device.type == "cuda" else lambda: None  # a GPU works on after it was asked
    result = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        loaded: Any = llm.load_base(base)[0]
        parameters = layout.trainable(loaded.to(device, dtype))
        kept = {name: p.detach().clone() for name, p in parameters.items()}
        constant = {name: p.detach().clone() for name, p in parameters.items()}
        pool = Pool(family="hadamard", size=SIZE, seed=1)
        slots = layout.place(pool, layout.describe(parameters))
        weights = Weights(pool=pool, slots=slots, base=kept, working=parameters, tick=TICK)
        coefficients = np.random.default_rng(0).integers(-(10**6), 10**6, SIZE)

        @torch.inference_mode()
        def add(kept: Tensors = kept, constant: Tensors = constant, parameters: Tensors = parameters) -> None:
            for name, p in parameters.items():
                torch.add(kept[name], constant[name], out=p.data)

        @torch.inference_mode()
        def per_seed(parameters: Tensors = parameters, dtype: torch.dtype = dtype) -> None:
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                for p in parameters.values():
                    p.sub_(torch.normal(mean=0.0, std=1.0, size=p.shape, dtype=dtype, device=p.device), alpha=TICK)

        few = torch.zeros(TILES * TILE, dtype=dtype, device=device)
        drawn = passes.suited(Pool(family="gaussian", size=SIZE, seed=1), [Placed(first_tile=0, base=few, out=few)], THREADS)
        rivals = {"add": add, "rebuild": lambda w=weights, c=coefficients: w.materialise_(c)}
        seconds = medians(rivals, runs, settle=settle)
        share = sum(p.numel() for p in parameters.values()) / few.numel()
        gaussian = medians({"tiles": lambda d=drawn, c=coefficients: d.materialise_(c, TICK)}, 3, 1, settle)["tiles"] * share
        loop = medians({"loop": per_seed}, 1, 0, settle)["loop"] * SIZE / SEEDS
        result.append(
            {
                "dtype": str(dtype).removeprefix("torch."),
                "torch.add s": seconds["add"],
                "rebuild s": seconds["rebuild"],
                "ratio": seconds["rebuild"] / seconds["add"],
                "per-seed loop s": loop,
                "loop / rebuild": loop / seconds["rebuild"],
                "gaussian s": gaussian,
                "gaussian / loop": gaussian / loop,
            }
        )
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path(".cache/smollm2-135m"), help="directory of the base model")
    parser.add_argument("--runs", type=int, default=9, help="turns of which the median counts")
    parser.add_argument("--device", default="cpu", help="what to compute on")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    measured = rows(arguments.base, arguments.runs, passes.find(arguments.device))
    report(f"rebuild from a dense ledger of K = {SIZE} over torch.add", measured, arguments.json)


if __name__ == "__main__":
    main()
