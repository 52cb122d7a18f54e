"""The golden vectors of the seed pool; `FEDKSEED_VECTORS` names another file of vectors."""

import base64
import json
import os
from pathlib import Path

import numpy as np

from fedkseed.federation import Pool
from fedkseed.pool.seed_pool import TILE, alignment

FILE = Path(__file__).with_name("numerics") / "seed-pool.json"
VECTORS = json.loads(Path(os.environ.get("FEDKSEED_VECTORS", FILE)).read_text())
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


def pool(vector: dict) -> Pool:
    return Pool(family=vector["family"], size=vector["K"], seed=vector["pool_seed"])


def array(text: str, dtype: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def title(vector: dict) -> str:
    return "-".join(str(vector[name]) for name in ("family", "K", "index", "tile", "dtype") if name in vector)


def trained(vector: dict) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Of each tensor of a model: its first tile, what is trained of the base, and what becomes of that; the rest must stay."""
    dtype, step, found, tile = DTYPES[vector["dtype"]], alignment(pool(vector)), [], 0
    for tensor in vector["tensors"]:
        base, weights = array(tensor["base_le"], dtype), array(tensor["weights_le"], dtype)
        chosen = np.array(tensor.get("positions", range(base.size)))
        untouched = np.setdiff1d(np.arange(base.size), chosen)
        assert tensor["first_tile"] == tile
        assert base[untouched].tobytes() == weights[untouched].tobytes()
        found.append((tile, base[chosen], weights[chosen]))
        tile += -(-chosen.size // step) * step // TILE
    return found
