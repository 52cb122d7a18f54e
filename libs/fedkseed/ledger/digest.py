"""Digests that pin the ledger down: what everyone can compare without trusting anyone.

All are SHA-256 over bytes that are the same on every platform: integers little-endian, JSON in one canonical form.
"""

import hashlib
import json
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from fedkseed.federation import Policy


def state_digest(genesis_digest: bytes, version: int, coefficients: NDArray[np.int64]) -> bytes:
    """SHA-256(genesis digest, version as u64 LE, coefficients as int64 LE).

    Args:
        genesis_digest: 32 bytes.
        version: the version that the coefficients are.
        coefficients: int64[K], in ticks.

    Returns:
        32 bytes; messages carry the first 16.
    """
    digest = hashlib.sha256(genesis_digest)
    digest.update(version.to_bytes(8, "little"))
    digest.update(np.ascontiguousarray(coefficients, dtype="<i8").tobytes())
    return digest.digest()


def policy_digest(policy: Policy) -> str:
    """SHA-256 of a policy as canonical JSON, in hex: what a commit records of the rules it was made under."""
    return hashlib.sha256(policy_bytes(policy)).hexdigest()


def policy_bytes(policy: Policy) -> bytes:
    """A policy as canonical JSON. What came later is not mentioned where it says nothing new: digests stay what they were."""
    content = asdict(policy)
    if policy.robust is None:
        del content["robust"]
    if policy.training.directions_per_batch == 1:
        del content["training"]["directions_per_batch"]
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
