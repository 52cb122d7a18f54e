"""Messages to bytes and back: one msgpack map each.

Structure is checked here, once, at the door: size, schema, type, the keys of the type, names, lengths of binary fields.
Limits come before memory: there is no room made for what a message promises before it is there. Values are the ledger's to
judge. Whatever bytes come in, `decode` returns a message or raises DecodeError. Encoding is deterministic: keys in the
order of the fields, so that a message read and written again is the same bytes.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, get_args

import msgpack  # type: ignore[import-untyped]
import numpy as np

from fedkseed.errors import DecodeError
from fedkseed.federation import MAX_BATCH, MAX_POOL_SIZE
from fedkseed.messages import (
    NONCE_BYTES,
    STATE_BYTES,
    Evaluation,
    Message,
    Outcome,
    Receipt,
    Round,
    Snapshot,
    SnapshotRequest,
    Update,
)
from fedkseed.packing import MAX_VARINT

SCHEMA = 1
MAX_BYTES = 1 << 20
MAX_PAIRS = 65536
MAX_KEYS = 64  # of a map
MAX_TEXT = 1024  # bytes of a text
RECEIPTS = 1 << 12  # that are remembered as they are written

_MESSAGES: Mapping[str, type[Any]] = {
    "round": Round,
    "update": Update,
    "receipt": Receipt,
    "snapshot?": SnapshotRequest,
    "snapshot": Snapshot,
    "evaluation": Evaluation,
}
_TAGS = {message: tag for tag, message in _MESSAGES.items()}
_FIELDS = {message: fields(message) for message in _TAGS}
_NAMES = {message: tuple(spec.name for spec in specs) for message, specs in _FIELDS.items()}
_VALUES = {message: attrgetter(*names) for message, names in _NAMES.items()}
_USUAL = {  # what is not written where it says nothing new
    message: {spec.name: spec.default for spec in specs if spec.metadata.get("wire") == "unless default"}
    for message, specs in _FIELDS.items()
}
_SHORT = {message: {spec.name for spec in specs if spec.metadata.get("wire") == "f32"} for message, specs in _FIELDS.items()}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OUTCOMES = frozenset(get_args(Outcome))


def kind(message: Message) -> str:
    """The type of a message as it is written, under `t`."""
    return _TAGS[type(message)]


def encode(message: Message) -> bytes:
    """Write a message as one msgpack map: `v`, `t`, then its fields in their order."""
    return _receipt(message) if isinstance(message, Receipt) else _written(message)


@lru_cache(RECEIPTS)
def _receipt(receipt: Receipt) -> bytes:
    """A receipt is filed and sent, by the thousand: it is written once."""
    return _written(receipt)


def _written(message: Message) -> bytes:
    content: dict[str, Any] = {"v": SCHEMA, "t": kind(message), **_plain(message)}
    if not (short := _SHORT[type(message)]):
        return bytes(msgpack.packb(content, default=_plain))
    double, single = msgpack.Packer(), msgpack.Packer(use_single_float=True)
    parts = [double.pack_map_header(len(content))]
    for name, value in content.items():
        parts += [double.pack(name), single.pack(_single(value)) if name in short else double.pack(value)]
    return b"".join(parts)


def _single(value: float) -> float:
    """The nearest value that a float32 holds; infinite beyond its range."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _plain(message: Message) -> dict[str, Any]:
    """A message as a map of its fields; so is a round inside a snapshot."""
    content = dict(zip(_NAMES[type(message)], _VALUES[type(message)](message), strict=True))
    for name, usual in _USUAL[type(message)].items():
        if content[name] == usual:
            del content[name]
    return content


def decode(data: bytes) -> Message:
    """Read a message.

    Raises:
        DecodeError: the bytes are not a message of this schema; the line names the key at fault.
    """
    content = _content(data)
    if not _is_integer(schema := content.get("v")) or schema != SCHEMA:
        raise DecodeError(f"v: unknown schema {schema!r:.40}")
    tag = content.get("t")
    if not isinstance(tag, str) or tag not in _MESSAGES:
        raise DecodeError(f"t: unknown type {tag!r:.40}")
    message: Message = _read(_MESSAGES[tag], content)
    return message


def declared_type(data: bytes) -> type[Message] | None:
    """The type that bytes say they are, without reading the rest of them; None where they name none of ours."""
    if len(data) > MAX_BYTES:
        return None
    unpacker = _walker(data)
    try:
        for _ in range(min(unpacker.read_map_header(), MAX_KEYS)):
            if unpacker.unpack() == "t":
                return _MESSAGES.get(unpacker.unpack())
            unpacker.skip()
    except _UNREADABLE:
        return None
    return None


_UNREADABLE = (ValueError, TypeError, msgpack.UnpackException)


def _walker(data: bytes) -> msgpack.Unpacker:
    """Bytes to be read value by value. It builds no containers: a header of five bytes may promise millions of entries."""
    room = max(len(data), 1)
    unpacker = msgpack.Unpacker(read_size=room, max_str_len=MAX_TEXT, max_array_len=0, max_map_len=0, max_ext_len=0)
    unpacker.feed(data)
    return unpacker


def _content(data: bytes) -> dict[str, Any]:
    """The keys of a message that mean something, with plain values; containers under other keys are passed over unbuilt."""
    if len(data) > MAX_BYTES:
        raise DecodeError(f"{len(data)} bytes, more than {MAX_BYTES}")
    if not _is_map(data):
        raise DecodeError("not a map" if _is_one_value(data) else "not msgpack")
    unpacker = _walker(data)
    try:
        content = _entries(unpacker, _PARTS)
    except _UNREADABLE as error:
        raise DecodeError(f"not msgpack: {error or type(error).__name__}") from error
    if unpacker.tell() != len(data):
        raise DecodeError(f"not msgpack alone: {len(data) - unpacker.tell()} bytes follow it")
    return content


def _is_map(data: bytes) -> bool:
    """Whether bytes begin as a map does."""
    return data[:1] in _MAPS


_MAPS = {bytes((first,)) for first in (*range(0x80, 0x90), 0xDE, 0xDF)}


def _is_one_value(data: bytes) -> bool:
    """Whether bytes are something in msgpack, and no more than that."""
    unpacker = _walker(data)
    try:
        unpacker.skip()
    except _UNREADABLE:
        return False
    return bool(unpacker.tell() == len(data))


def _entries(unpacker: msgpack.Unpacker, parts: Mapping[str, Callable[[msgpack.Unpacker], Any]]) -> dict[str, Any]:
    """Read a map: what each known key stands for is read by its part; a key may stand there only once."""
    content: dict[str, Any] = {}
    entries, key = _header(unpacker), None
    keys = set()
    try:
        for _ in range(entries):
            keys.add(key := unpacker.unpack())
            if key in parts:
                content[key] = parts[key](unpacker)
            else:
                unpacker.skip()
    except (DecodeError, ValueError, TypeError) as error:
        raise DecodeError(f"{key!r:.40}: {error or type(error).__name__}") from error
    if len(keys) < entries or not all(isinstance(key, str) for key in keys):
        raise DecodeError("a key is not text, or occurs twice")
    return content


def _header(unpacker: msgpack.Unpacker) -> int:
    """How many entries a map has."""
    try:
        entries = int(unpacker.read_map_header())
    except ValueError as error:
        raise DecodeError("not a map") from error
    if entries > MAX_KEYS:
        raise DecodeError(f"{entries} keys, more than {MAX_KEYS}")
    return entries


def _scores(unpacker: msgpack.Unpacker) -> dict[Any, Any]:
    """A map of plain values under any names."""
    pairs = [(unpacker.unpack(), unpacker.unpack()) for _ in range(_header(unpacker))]
    if len(scores := dict(pairs)) < len(pairs):
        raise DecodeError("a name occurs twice")
    return scores


def _read(message: type[Any], content: Mapping[str, Any]) -> Any:
    """Check every key of a message and build it; keys that it does not have are ignored."""
    values = {}
    for spec in _FIELDS[message]:
        if spec.name not in content and spec.default is MISSING:
            raise DecodeError(f"{_TAGS[message]}: {spec.name} is missing")
        try:
            values[spec.name] = _CHECKS[spec.name](content.get(spec.name, spec.default))
        except DecodeError as error:
            raise DecodeError(f"{_TAGS[message]}: {spec.name}: {error}") from error
    if message is Update and len(values["k"]) != len(values["g"]):
        raise DecodeError(f"update: {len(values['k']) // 2} seed indices with {len(values['g']) // 2} scalars")
    return message(**values)


Check = Callable[[Any], Any]  # returns the value as the message holds it, or raises DecodeError


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(value: Any) -> int:
    if not _is_integer(value) or not -(1 << 63) <= value < 1 << 63:
        raise DecodeError("not an integer of 64 bits")
    return int(value)


def _count(value: Any) -> int:
    if (number := _integer(value)) < 0:
        raise DecodeError("negative")
    return number


def _up_to(most: int, least: int = 0) -> Check:
    def check(value: Any) -> int:
        if (number := _count(value)) > most:
            raise DecodeError(f"more than {most}")
        if number < least:
            raise DecodeError(f"less than {least}")
        return number

    return check


def _number(value: Any) -> float:
    if not isinstance(value, float) and not _is_integer(value):
        raise DecodeError("not a number")
    return float(value)


def _finite(value: Any) -> float:
    if not math.isfinite(number := _number(value)):
        raise DecodeError("not finite")
    return number


def _positive(value: Any) -> float:
    if (number := _finite(value)) <= 0:
        raise DecodeError("not positive")
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise DecodeError("not a boolean")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DecodeError("not text")
    return value


def _name(value: Any) -> str:
    if not _NAME.fullmatch(text := _text(value)):
        raise DecodeError("not a name of 1 to 64 letters, digits, _ and -")
    return text


def _outcome(value: Any) -> str:
    if (text := _text(value)) not in _OUTCOMES:
        raise DecodeError(f"unknown outcome {text!r:.40}")
    return text


def _binary(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise DecodeError("not binary")
    return value


def _exactly(length: int) -> Check:
    def check(value: Any) -> bytes:
        if len(data := _binary(value)) != length:
            raise DecodeError(f"{len(data)} bytes instead of {length}")
        return data

    return check


def _pairs(value: Any) -> bytes:
    if len(data := _binary(value)) % 2 or len(data) > 2 * MAX_PAIRS:
        raise DecodeError(f"{len(data)} bytes, not two for each of at most {MAX_PAIRS} pairs")
    return data


def _nibbles(value: Any) -> bytes:
    if len(data := _binary(value)) > MAX_POOL_SIZE // 2:
        raise DecodeError(f"{len(data)} bytes, more than {MAX_POOL_SIZE} seeds need")
    return data


def _integers(value: Any) -> bytes:
    if len(data := _binary(value)) > MAX_POOL_SIZE // 8 + MAX_POOL_SIZE * MAX_VARINT:
        raise DecodeError(f"{len(data)} bytes, more than {MAX_POOL_SIZE} seeds need")
    return data


def _metrics(value: Any) -> dict[str, float]:
    return {_name(name): _number(score) for name, score in value.items()}


def _round(value: Any) -> Any:
    return _read(Round, value)


def _or_nil(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


_CHECKS: Mapping[str, Check] = {  # a key means the same in every message that has it
    "federation": _name,
    "client": _name,
    "version": _count,
    "base": _count,
    "have": _or_nil(_count),
    "attempt": _count,
    "state": _exactly(STATE_BYTES),
    "nonce": _exactly(NONCE_BYTES),
    "opened": _finite,
    "deadline": _finite,
    "last": _flag,
    "steps": _up_to(MAX_PAIRS),  # a client makes room for them before it takes the first
    "eps": _positive,
    "lr": _positive,
    "batch": _up_to(MAX_BATCH),
    "participation": _positive,
    "max_staleness": _or_nil(_count),
    "directions_per_batch": _up_to(MAX_PAIRS, least=1),
    "genesis": _binary,
    "coefficients": _integers,
    "delta": _or_nil(_integers),
    "importance": _or_nil(_nibbles),
    "round": _round,
    "n": _count,
    "k": _pairs,
    "g": _pairs,
    "loss": _number,  # what a client that diverged measured need not be finite
    "skipped": _count,
    "outcome": _outcome,
    "staleness": _integer,  # negative for `ahead`
    "weight": _count,
    "reason": _text,
    "metrics": _metrics,
    "examples": _count,
    "seconds": _finite,
}


_PLAIN: Mapping[str, Callable[[msgpack.Unpacker], Any]] = dict.fromkeys(
    ("v", "t", *(_CHECKS.keys() - {"round", "metrics"})), msgpack.Unpacker.unpack
)
_PARTS: Mapping[str, Callable[[msgpack.Unpacker], Any]] = {  # a round holds no round: nothing is nested deeper than this
    **_PLAIN,
    "round": lambda unpacker: _entries(unpacker, _PLAIN),
    "metrics": _scores,
}
