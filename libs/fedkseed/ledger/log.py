"""Reading the log of commits: what it adds up to, and whether it is what its digests say."""

from collections.abc import Iterable

import numpy as np

from fedkseed.errors import DecodeError, LedgerAltered
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.statistics import Integers
from fedkseed.packing import unpack_integers


def replay(commits: Iterable[Commit], size: int) -> Integers:
    """Add up a log from version 0.

    Args:
        commits: from version 1 on, as far as wanted.
        size: K.

    Returns:
        int64[K], the coefficients of the last version given, in ticks.

    Raises:
        DecodeError: a difference is not one of K integers.
    """
    coefficients = np.zeros(size, np.int64)
    for commit in commits:
        coefficients += unpack_integers(commit.delta, size)
    return coefficients


def verify(commits: Iterable[Commit], genesis_bytes: bytes, size: int) -> int:
    """Check the number and the state digest of every version of a log that starts at version 1.

    Returns:
        The last version, 0 for an empty log.

    Raises:
        LedgerAltered: a version is missing, or its digest is not that of its coefficients; the message names it.
    """
    genesis, version, coefficients = genesis_digest(genesis_bytes), 0, np.zeros(size, np.int64)
    for commit in commits:
        version += 1
        if commit.version != version:
            raise LedgerAltered(f"log: version {commit.version} where {version} was expected")
        try:
            coefficients += unpack_integers(commit.delta, size)
        except DecodeError as error:
            raise LedgerAltered(f"log: version {version}: {error}") from error
        if commit.state != state_digest(genesis, version, coefficients):
            raise LedgerAltered(f"log: version {version} has another state digest than its coefficients")
    return version
