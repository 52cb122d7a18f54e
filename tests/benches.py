"""Local training on a tiny model, without a federation around it."""

import numpy as np

from fedkseed.federation import Federation, parse
from fedkseed.model import Base


def federation(base, family: str = "hadamard", lr: float = 1e-2) -> Federation:
    return parse(
        {
            "name": "toy",
            "model": {"base": str(base)},
            "objective": {"kind": "label-words", "words": ["terrible", "great"]},
            "pool": {"family": family, "size": 256, "seed": 3},
            "training": {"lr": lr, "eps": 1e-3, "steps": 100},
            "data": {"train": "-", "held_out": "-", "partition": {"by": "iid", "clients": 1}},
        }
    )


def sparse(base: Base, fraction: float = 0.2) -> Base:
    """The same base with a support drawn by chance."""
    rng = np.random.default_rng(1)
    chosen = {n: np.flatnonzero(rng.random(p.numel()) < fraction) for n, p in base.parameters.items()}
    return Base(name=base.name, model=base.model, tokenizer=base.tokenizer, parameters=base.parameters, support=chosen)
