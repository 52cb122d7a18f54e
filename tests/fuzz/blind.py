"""Decode many mutated messages, quickly and without guidance: `python -m tests.fuzz.blind --inputs N [--json FILE]`.

Bytes of honest messages are changed, cut out, repeated and exchanged with those of others, at random. Whatever comes of it is
a message or a DecodeError; vectors inside of what is read have one encoding. It complements the guided fuzzer, which is slower
by a factor of ten.
"""

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from fedkseed.codec import decode, encode
from fedkseed.errors import DecodeError
from fedkseed.messages import Round, Snapshot
from fedkseed.packing import pack_integers, unpack_integers
from tests.fuzz.targets import TARGETS, messages, seeds
from tests.ledgers import K

TOGETHER = 100_000
INTERESTING = bytes.fromhex("00 7f 80 81 8f 90 c0 c1 c2 c4 c5 c6 c7 ca cb cf d3 d9 da db dc dd de df ff")


def main() -> int:
    """Decode so many inputs; the record is kept after every hundred thousand."""
    parser = argparse.ArgumentParser(description="Decode mutated messages.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is left to chance (%(default)s)")
    parser.add_argument("--json", type=Path, help="where the record is kept, from the beginning on")
    arguments = parser.parse_args()
    dice, record = Random(arguments.seed), {"inputs": 0, "read": 0, "cpu_minutes": 0.0, "slowest_seconds": 0.0}
    honest = [seed[1:] for seed in seeds().values() if seed[0] == TARGETS.index(messages)]
    while record["inputs"] < arguments.inputs:
        for _ in range(TOGETHER):
            data = mutated(honest, dice)
            begun = time.thread_time()
            record["read"] += read(data)
            record["slowest_seconds"] = max(record["slowest_seconds"], time.thread_time() - begun)
        record["inputs"] += TOGETHER
        record["cpu_minutes"] = time.process_time() / 60
        if arguments.json:
            arguments.json.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(json.dumps(record))
    return 0


def mutated(honest: list[bytes], dice: Random) -> bytes:
    """An honest message after one to four changes."""
    data = bytearray(dice.choice(honest))
    for _ in range(dice.randrange(1, 5)):
        place = int(dice.random() * len(data))
        match int(dice.random() * 5):
            case 0:
                data[place] = int(dice.random() * 256)
            case 1:
                data[place] = dice.choice(INTERESTING)
            case 2:
                del data[place : place + int(dice.random() * 16) + 1]
            case 3:
                data[place:place] = data[place : place + int(dice.random() * 64)]
            case _:
                other = dice.choice(honest)
                start = int(dice.random() * len(other))
                data[place:place] = other[start : start + int(dice.random() * 64)]
        data = data or bytearray(b"\x80")
    return bytes(data)


def read(data: bytes) -> bool:
    """Whether bytes are a message; what is one is written alike."""
    try:
        message = decode(data)
    except DecodeError:
        return False
    written = encode(message)
    assert encode(decode(written)) == written
    packed = message.delta if isinstance(message, Round) else message.coefficients if isinstance(message, Snapshot) else None
    if packed is not None:
        with suppress(DecodeError):
            assert pack_integers(unpack_integers(packed, K)) == packed
    return True


if __name__ == "__main__":
    sys.exit(main())
