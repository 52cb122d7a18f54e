"""Float32 weights that move for good: what an unstructured family of directions is affordable with.

The product rebuilds a version from the base, exactly, in as many directions as were ever used: minutes on two cores, for each
client and version, with Gaussian directions over all parameters. Here the last version is kept and moved by what is new
since then, as the published code does: the same sum, in another order of rounding.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedkseed import llm
from fedkseed.federation import Pool
from fedkseed.model import Base
from fedkseed.zo.layout import place
from fedkseed.zo.materialise import FromBase, Master, Weights


class Moving:
    """All parameters in float32, and the working model that shows them.

    Args:
        base: taken over: its model shows the weights from now on.
        dtype: what the model computes in.
        device: where.
    """

    def __init__(self, base: Base, dtype: torch.dtype, device: torch.device) -> None:
        self._layout = base.layout
        base.model.to(device)  # type: ignore[arg-type] # what it takes is hidden by a decorator
        self._values = {name: p.detach().float().clone() for name, p in base.parameters.items()}
        llm.compute_in_(base.model, dtype)
        self._working = base.parameters

    def weights(self, pool: Pool, tick: float) -> Weights:
        """The working model's weights, from where they are now, along the directions of a pool."""
        return self._over(pool, tick, self._working)

    def move_(self, pool: Pool, tick: float, coefficients: NDArray[np.int64]) -> None:
        """Take sum_k a_k z_k ticks away, for good."""
        self._over(pool, tick, self._values).materialise_(coefficients)

    def _over(self, pool: Pool, tick: float, written: Any) -> Weights:
        return Weights(pool=pool, slots=place(pool, self._layout), base=self._values, working=written, tick=tick)


class Following:
    """Weights of a working model that keep the last version they were asked for; see `zo.materialise.Working`.

    Args:
        moving: where the base is now.
        pool: the seed pool.
        tick: the size of a tick.
    """

    memory: ClassVar = "resident"

    def __init__(self, moving: Moving, pool: Pool, tick: float) -> None:
        self.pool, self.tick = pool, tick
        self._moving, self._shown = moving, moving.weights(pool, tick)
        self._at = self._still = np.zeros(pool.size, np.int64)

    def materialise_(self, coefficients: NDArray[Any], *, along: int = 0, shift: float = 0.0) -> None:
        """Have the model run with the weights at `coefficients`, moved by `shift` along z_`along`."""
        self._follow_(coefficients)
        self._shown.materialise_(self._still, along=along, shift=shift)

    def local(self, coefficients: NDArray[Any]) -> FromBase | Master:
        """Where local training starts."""
        self._follow_(coefficients)
        return self._shown.local(self._still)

    def _follow_(self, coefficients: NDArray[Any]) -> None:
        if (new := coefficients - self._at).any():
            self._moving.move_(self.pool, self.tick, new)
            self._at = coefficients.copy()
