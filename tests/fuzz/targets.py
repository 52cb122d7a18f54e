"""What is fed with bytes of anybody's choice, and what must hold whatever they are.

An input is one byte, which names a target, and what the target is fed with. A target raises where something does not hold;
typed errors, by which bytes are refused, are what it is for.
"""

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgpack
import numpy as np
import pika
from pika import frame

from fedkseed import data as examples
from fedkseed import federation
from fedkseed.codec import declared_type, decode, encode
from fedkseed.errors import ArtifactAltered, ArtifactUnreadable, DecodeError, GenesisMismatch, MalformedData, SettingError
from fedkseed.genesis import Genesis
from fedkseed.ledger import artifact, fold, rounds
from fedkseed.ledger.head import Head
from fedkseed.messages import Evaluation, Message, Round, Snapshot, Update
from fedkseed.packing import pack_integers, unpack_integers
from fedkseed.pool import importance
from fedkseed.replica import Replica, receive, restore
from fedkseed.transport.broker import Delivery
from fedkseed.transport.door import unseal
from fedkseed.transport.line import read_frame
from fedkseed.transport.words import delivery
from tests.ledgers import NAME, K, at_version, genesis, ledger, policy, update

Target = Callable[[bytes], None]
NOWHERE = Path("/fuzz")
SENDERS = ("ann", "bob", "c0", "evaluator")


@cache
def head() -> Head:
    """A ledger at version 3, with an open round that two clients have sent updates to; others may be late by a version."""
    settings = {"cohort": 8, "max_staleness": 1, "staleness_law": "polynomial", "steps": 20, "importance": True}
    at_three, _ = at_version(ledger(**{**settings, "participation": 0.999}), 3)
    return fold.fold(at_three, [update(at_three, "bob"), update(at_three, "cleo", k=(1, 2), g=(2.0, -1.0))], 1000.0)[0]


@cache
def replica() -> Replica:
    """A participant's copy of version 2 of that ledger."""
    at_two, _ = at_version(ledger(cohort=8, max_staleness=1, steps=20, importance=True), 2)
    return restore(Replica(federation=NAME, participant="ann"), fold.snapshot(at_two))


def door(data: bytes) -> None:
    """Any bytes, under the key that they deserve or another one, are a message that is read and written alike, or refused."""
    kind = data[:1] in b"\x00"
    key = "update.ann" if kind else f"{('update', 'snapshot', 'evaluation', 'round')[data[0] % 4]}.{SENDERS[data[0] // 4 % 4]}"
    letter = Delivery(tag=1, queue="q", key=key, body=data[1:])
    try:
        message = unseal(letter)
    except DecodeError:
        return
    _comes_back(message)
    assert declared_type(letter.body) is type(message)


def _comes_back(message: Message) -> None:
    written = encode(message)
    assert encode(decode(written)) == written


def values(data: bytes) -> None:
    """A message of ours with values of anybody's choice: the input is a map of them, over an honest message's."""
    honest = (update(head(), "ann"), head().round, fold.snapshot(head()), _evaluation())[data[0] % 4] if data else head().round
    try:
        changes = msgpack.unpackb(data[1:], max_map_len=32, max_array_len=32)
    except (ValueError, msgpack.UnpackException):
        return
    if not isinstance(changes, dict):
        return
    content = msgpack.unpackb(encode(honest))
    content.update({name: value for name, value in changes.items() if isinstance(name, str)})
    with suppress(DecodeError):
        _everywhere(decode(msgpack.packb(content)))


def _evaluation() -> Evaluation:
    state = head().digest[:16]
    return Evaluation(
        federation=NAME, client="evaluator", version=3, state=state, metrics={"loss": 1.0}, examples=1, seconds=1.0
    )


def messages(data: bytes) -> None:
    """Whatever is a message does no harm wherever it can arrive."""
    with suppress(DecodeError):
        _everywhere(decode(data))


def _everywhere(message: Message) -> None:
    _comes_back(message)
    match message:
        case Update():
            _folded([message])
        case Evaluation():
            _scored(message)
        case Round() | Snapshot():
            _followed(message)


def batch(data: bytes) -> None:
    """Updates of clients that know the ledger: the input is their seeds, scalars and sizes."""
    updates = []
    for start in range(0, min(len(data), 400), 40):
        part = data[start : start + 40].ljust(40, b"\0")
        pairs = 4 * (part[1] % 8)
        updates.append(
            update(
                head(),
                f"{SENDERS[part[0] % 4]}{part[0] // 64}",
                base=head().version - part[2] % 3,
                n=int.from_bytes(part[3:8], "little"),
            )
        )
        updates[-1] = replace(updates[-1], k=part[8 : 8 + pairs // 2 * 2], g=part[24 : 24 + pairs // 2 * 2])
    if updates:
        _folded(updates)


def _folded(updates: list[Update]) -> None:
    """The sums are those of the updates that count, and nothing else has changed but answers."""
    before = head()
    after, told = fold.fold(before, updates, 1000.0)
    assert len(told.receipts) == len(updates)
    for receipt in told.receipts:
        _comes_back(receipt)
    if told.commits:
        return
    known = {(member.client, member.base) for member in before.pending.members}
    numerators, weight = before.pending.numerators.copy(), before.pending.weight
    for message, receipt in zip(updates, told.receipts, strict=True):
        if receipt.weight and (message.client, message.base) not in known:
            known.add((message.client, message.base))
            weight += receipt.weight
            for seed, scalar in zip(message.seed_indices.tolist(), message.gradients.astype(float).tolist(), strict=True):
                numerators[seed] += receipt.weight * round(scalar * 65536)
    assert (after.pending.numerators == numerators).all()
    assert after.pending.weight == weight
    assert known == {(member.client, member.base) for member in after.pending.members}
    assert np.abs(after.pending.numerators).max() <= rounds.MAX_SUM
    assert (after.coefficients == before.coefficients).all()
    assert (after.version, after.state, after.evaluations) == (before.version, before.state, before.evaluations)


def _scored(evaluation: Evaluation) -> None:
    after, told = fold.score(head(), evaluation, 1000.0)
    assert (after is head()) == bool(told.reason)
    assert not told.commits
    json.loads(json.dumps(after.evaluations), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def _followed(content: Round | Snapshot) -> None:
    """A copy is what it was, or one that its digest vouches for, or given up for a new one."""
    after, effects = receive(replica(), content)
    for effect in effects:
        seconds = getattr(effect, "after_seconds", 0.0)
        assert 0 <= seconds < 1e7
    if after.held is not None and after.state is not None:
        assert after.state[1][:16] == after.held.round.state
        assert len(after.held.coefficients) == K
    assert len(after.waiting) <= 64


def vectors(data: bytes) -> None:
    """A vector has one encoding; a pool may have any size."""
    size = int.from_bytes(data[:2], "little") + 1
    try:
        integers = unpack_integers(data[2:], size)
    except DecodeError:
        return
    assert pack_integers(integers) == data[2:]


def levels(data: bytes) -> None:
    """Levels of importance have one encoding too."""
    size = int.from_bytes(data[:2], "little") + 1
    try:
        q = importance.unpack(data[2:], size)
    except DecodeError:
        return
    assert importance.pack(q) == data[2:]
    assert abs(importance.probabilities(q).sum() - 1) < 1e-9


def genesis_(data: bytes) -> None:
    """Bytes are a genesis that a ledger can be founded with, or refused."""
    try:
        read = Genesis.decode(data)
    except GenesisMismatch:
        return
    Genesis.decode(read.encode())
    assert len(fold.found(data, policy(), 1000.0).coefficients) == read.pool.size


def artifact_(data: bytes) -> None:
    """A file is a ledger whose digest verifies, or refused."""
    try:
        read = artifact.parse(data, NOWHERE)
    except (ArtifactUnreadable, ArtifactAltered):
        return
    assert len(read.coefficients) == read.genesis.pool.size


def line(data: bytes) -> None:
    """A line of a data file is an example or refused, and one that fits an objective is text throughout."""
    objective = federation.LabelWords(kind="label-words", words=(" bad", " good"))
    with suppress(MalformedData):
        example = examples._parse(data, "line 1")  # noqa: SLF001 - a file for each would be slow
        examples.check([example], objective)
        example["text"].encode()


def settings(data: bytes) -> None:
    """Settings are those of a federation, or refused by name; JSON stands for the tables that TOML gives."""
    try:
        tables = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(tables, dict):
        with suppress(SettingError):
            federation.parse(tables)


class _Method:
    """What RabbitMQ says with a letter."""

    def __init__(self, key: object) -> None:
        self.routing_key, self.redelivered = key, False


def properties(data: bytes) -> None:
    """Properties and headers that RabbitMQ passes on from a sender may be anything: a delivery holds text."""
    payload = struct.pack(">HHQ", 60, 0, 7) + data
    octets = struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"
    length, header = read_frame(octets)
    assert (length, header.body_size) == (len(octets), 7)
    read = delivery(1, "q", _Method(data[:10]), header.properties, b"")
    assert isinstance(read.key, str)
    assert all(isinstance(part, str) for pair in read.headers.items() for part in pair)


TARGETS: tuple[Target, ...] = (
    door,
    messages,
    values,
    batch,
    vectors,
    levels,
    genesis_,
    artifact_,
    line,
    settings,
    properties,
)


def feed(data: bytes) -> None:
    """Feed an input to the target that it names."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def seeds() -> dict[str, bytes]:
    """Inputs to begin with: what is honest, for each target."""
    plain = head()
    late, _ = at_version(ledger(cohort=8, max_staleness=1, steps=20, importance=True), 3)
    honest = {
        "update": update(plain, "ann", k=(1, 2, 3), g=(1.0, -2.0, 0.5)),
        "round": late.round,
        "snapshot": fold.snapshot(plain),
        "evaluation": _evaluation(),
        "receipt": fold.fold(plain, [update(plain, "ann")], 1.0)[1].receipts[0],
    }
    bodies = {name: encode(message) for name, message in honest.items()}
    file = artifact._serialise(  # noqa: SLF001
        artifact.Artifact(genesis_bytes=genesis(), version=3, coefficients=plain.coefficients)
    )
    toml = {
        "name": "f",
        "model": {"base": "b"},
        "objective": {"kind": "response"},
        "data": {"train": "a", "held_out": "b", "partition": {"by": "iid", "clients": 2}},
    }
    given = {
        door: [b"\0" + bodies["update"], *(bytes((n,)) + bodies["evaluation"] for n in (14, 2)), b"\x03" + bodies["round"]],
        messages: list(bodies.values()),
        values: [bytes((n,)) + msgpack.packb({"n": 7, "loss": float("nan"), "deadline": 1e300}) for n in range(4)],
        batch: [bytes(range(40)) * 4, b"\x40\x08\x00\x0a".ljust(40, b"\x3c") * 10],
        vectors: [(K - 1).to_bytes(2, "little") + pack_integers(plain.coefficients)],
        levels: [(K - 1).to_bytes(2, "little") + bytes(K // 2)],
        genesis_: [genesis()],
        artifact_: [file],
        line: [b'{"text": "so good", "label": 1}\n', b'{"text": "\\ud800", "label": 1}'],
        settings: [json.dumps(toml).encode()],
        properties: [
            frame.Header(1, 7, pika.BasicProperties(headers=headers, user_id="ann", delivery_mode=2)).marshal()[19:-1]
            for headers in (
                {"x-death": [{"routing-keys": ["update.ann"], "count": 1}], "x-first-death-reason": "expired"},
                {"a": -1, "b": "x", "c": None, "d": [True, 1 << 40], "e": {"f": "g"}},
            )
        ],
    }
    return {
        f"{target.__name__.strip('_')}-{number}": bytes((TARGETS.index(target),)) + data
        for target, inputs in given.items()
        for number, data in enumerate(inputs)
    }
