"""Who is invited to a round: decided by a hash, so that client and aggregator agree without a word.

The nonce comes from the state digest and the attempt; nobody draws a random number.
"""

import hashlib

from fedkseed.messages import NONCE_BYTES


def nonce(state: bytes, attempt: int) -> bytes:
    """The nonce of an attempt at a version: the first 8 bytes of SHA-256("nonce", state digest, attempt as u32 LE)."""
    return hashlib.sha256(b"nonce" + state + attempt.to_bytes(4, "little")).digest()[:NONCE_BYTES]


def invited(nonce: bytes, client: str, participation: float) -> bool:
    """Say whether a client is invited: the first 8 bytes (LE) of SHA-256(nonce, client) < floor(participation * 2^64)."""
    draw = hashlib.sha256(nonce + client.encode()).digest()[:8]
    return int.from_bytes(draw, "little") < int(participation * 2.0**64)
