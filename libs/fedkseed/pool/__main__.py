"""Compile the kernels of all families ahead of time: `python -m fedkseed.pool`.

numba keeps them where NUMBA_CACHE_DIR says, or beside the code, for processors like this one; another one compiles them again.
"""

from typing import get_args

from fedkseed.federation import Family, Pool
from fedkseed.pool import sweep

if __name__ == "__main__":
    for family in get_args(Family):
        sweep.load(Pool(family=family))
