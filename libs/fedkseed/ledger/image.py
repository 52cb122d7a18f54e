"""The head that is stored, put together from what was read, and verified. Pure.

The coefficients must have the state digest that the log and the open round name, and the sums of the open round must be
those of its members. Parts that are not newer than a head that is known are taken from it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar, get_args

import numpy as np

from fedkseed.errors import LedgerAltered
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger import records
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.head import Head, Pairs, Pending, State, frozen, nothing_pending
from fedkseed.ledger.records import SUMS, VECTORS, Command, Fields, key, legible, paired
from fedkseed.ledger.rounds import SCORABLE
from fedkseed.ledger.staleness import table
from fedkseed.ledger.statistics import BUCKETS, Integers, Statistics
from fedkseed.messages import STATE_BYTES, Receipt
from fedkseed.packing import unpack_integers

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was read of a ledger at one moment."""

    genesis_bytes: bytes
    fields: Fields  # the hash `head`
    parts: Mapping[str, Any]  # replies to `reading`, of the parts that `newer` names
    states: Mapping[int, bytes]  # digests of the versions that `unread` names, from the log


def newer(fields: Fields, known: Head | None) -> tuple[str, ...]:
    """Name the parts that were written after a head that is known; all of them without it.

    Raises:
        LedgerAltered: the notes are not what was written.
    """
    with legible("head"):
        written = {field.decode()[3:]: int(at) for field, at in fields.items() if field.startswith(b"at:")}
    return tuple(part for part, at in written.items() if known is None or at > known.revision)


def reading(federation: str, part: str) -> Command:
    """The command that reads a part."""
    return ("GET" if part == "policy" or part in VECTORS else "HGETALL", key(federation, part))


def unread(fields: Fields, known: Head | None) -> range:
    """The versions of the log whose digests a head needs, beyond those that a known head has.

    Raises:
        LedgerAltered: the hash is not what was written.
    """
    with legible("head"):
        version, _ = int(fields[b"version"]), int(fields[b"revision"])
    return range(max(1, version - SCORABLE + 1, known.version + 1 if known else 1), version + 1)


def read(stored: Stored, known: Head | None, receipt: Callable[[bytes], Receipt]) -> Head:
    """Put a head together, and verify it.

    Args:
        stored: everything that is newer than `known`.
        known: an older head of the same ledger.
        receipt: reads a receipt; bytes that were read before come again.

    Raises:
        LedgerAltered: something is missing, is not what was written, or does not match its digest.
    """
    with legible("head"):
        head = _assemble(stored, known, receipt)
    if head.digest != state_digest(genesis_digest(head.genesis_bytes), head.version, head.coefficients):
        raise LedgerAltered(f"coefficients: the state digest is not that of version {head.version} in the log")
    if head.round.state != head.digest[:STATE_BYTES] or head.round.version != head.version:
        raise LedgerAltered(f"head: the open round is not that of version {head.version}")
    if head.version not in head.window or head.window[head.version].state != head.digest:
        raise LedgerAltered(f"head: version {head.version} is not remembered with the state digest that the log has")
    members = head.pending.members
    if head.pending.weight != sum(member.omega for member in members) or int(stored.fields[b"members"]) != len(members):
        raise LedgerAltered("pending: number and weight of the members are not what they were")
    if {(member.client, member.base) for member in members if member.evidence} != head.pending.pairs.keys():
        raise LedgerAltered("pairs: they are not those of the members of the open round")
    return head


def _assemble(stored: Stored, known: Head | None, receipt: Callable[[bytes], Receipt]) -> Head:
    fields, parts = stored.fields, stored.parts
    genesis = known.genesis if known else Genesis.decode(stored.genesis_bytes)
    size = genesis.pool.size
    policy = known.policy if known and "policy" not in parts else _parse(parts, "policy", records.policy)
    window = {int(field[5:]): records.base(data) for field, data in fields.items() if field.startswith(b"base:")}
    pending = known.pending if known else nothing_pending(size)
    pending = _parse(parts, "pending", lambda reply: _sums(paired(reply), size)) if "pending" in parts else pending
    pairs = _parse(parts, "pairs", lambda reply: _pairs(paired(reply))) if "pairs" in parts else known and known.pending.pairs
    learnt = known.robust if known else None
    evaluations: Mapping[int, Mapping[str, float]] = known.evaluations if known else {}
    importance = _vectors("importance", parts, known, size)
    return Head(
        genesis_bytes=stored.genesis_bytes,
        genesis=genesis,
        policy=policy,
        discounts=table(policy.rounds),
        version=int(fields[b"version"]),
        floor=int(fields[b"floor"]),
        forgot=int(fields.get(b"forgot", 0)),
        revision=int(fields[b"revision"]),
        state=_state(fields[b"state"]),
        coefficients=_vectors("coefficients", parts, known, size)[0],
        residue=_vectors("residue", parts, known, size)[0],
        importance_sums=importance[0],
        importance_counts=importance[1],
        robust=_parse(parts, "robust", _statistics) if "robust" in parts else learnt,
        pending=replace(pending, pairs=pairs or {}),
        window={base: window[base] for base in sorted(window)},
        inbox={base: _receipts(base, parts, known, receipt) for base in sorted(window)},
        states=_states(stored, known, size),
        round=records.opened_round(fields[b"round"]),
        announced=_announced(fields[b"announced"]),
        evaluations=_parse(parts, "evaluations", _scores) if "evaluations" in parts else evaluations,
    )


def _parse(parts: Mapping[str, Any], part: str, parse: Callable[[Any], T]) -> T:
    with legible(part):
        return parse(parts[part])


def _vectors(part: str, parts: Mapping[str, Any], known: Head | None, size: int) -> tuple[Integers, ...]:
    if known and part not in parts:
        return VECTORS[part](known)
    return _parse(parts, part, lambda data: records.vectors(data, 2 if part == "importance" else 1, size))


def _sums(fields: Fields, size: int) -> Pending:
    """The open round's sums, without the pairs of its members; what is not there is zero."""
    packed = {field: fields.get(field.encode()) for field in SUMS}
    lengths = dict.fromkeys(SUMS, size) | {"scalars": BUCKETS}
    sums = {
        field: frozen(unpack_integers(data, lengths[field]) if data else np.zeros(lengths[field], np.int64))
        for field, data in packed.items()
    }
    members = []
    for field, value in fields.items():
        client, _, base = field.decode().rpartition("/")
        if base.isdecimal() and client:
            members.append(records.member(client, int(base), *map(int, value.split())))
    return Pending(
        numerators=sums["numerators"],
        weight=int(fields.get(b"weight", 0)),
        importance_sums=sums["importance"],
        importance_counts=sums["counts"],
        members=tuple(sorted(members, key=attrgetter("client", "base"))),
        scalars=sums["scalars"],
        pairs={},
    )


def _pairs(fields: Fields) -> dict[tuple[str, int], Pairs]:
    """The pairs of the members, by client and base."""
    named = ((*field.decode().rpartition("/"), value) for field, value in fields.items())
    return {(client, int(base)): records.pairs(value) for client, _, base, value in named}


def _statistics(reply: list[bytes]) -> Statistics | None:
    """What robust folding knows; nothing is stored where folding is not robust."""
    return records.statistics(paired(reply)) if reply else None


def _receipts(
    base: int, parts: Mapping[str, Any], known: Head | None, receipt: Callable[[bytes], Receipt]
) -> Mapping[str, Receipt]:
    if (part := f"inbox:{base}") not in parts:
        return known.inbox.get(base, {}) if known else {}
    with legible(part):
        if not parts[part]:
            raise ValueError("no receipts")
        return {client.decode(): receipt(data) for client, data in paired(parts[part]).items()}


def _states(stored: Stored, known: Head | None, size: int) -> dict[int, bytes]:
    """The digests of the versions that can still be scored."""
    version = int(stored.fields[b"version"])
    lowest = max(0, version - SCORABLE + 1)
    states = {**(known.states if known else {}), **stored.states}
    states.setdefault(0, state_digest(genesis_digest(stored.genesis_bytes), 0, np.zeros(size, np.int64)))
    if missing := [scored for scored in range(lowest, version + 1) if scored not in states]:
        raise LedgerAltered(f"log: version {missing[0]} is missing")
    return {scored: states[scored] for scored in range(lowest, version + 1)}


def _scores(reply: list[bytes]) -> dict[int, dict[str, float]]:
    return {int(version): json.loads(scores) for version, scores in paired(reply).items()}


def _state(name: bytes) -> State:
    for state in get_args(State):
        if name.decode() == state:
            known: State = state
            return known
    raise ValueError(f"unknown state {name.decode()!r}")


def _announced(name: bytes) -> tuple[int, int] | None:
    if not name:
        return None
    version, attempt = name.split(b".")
    return int(version), int(attempt)
