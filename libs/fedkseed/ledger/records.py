"""How the parts of a ledger are written down in Redis: keys, and values as bytes. Pure; it talks to nobody.

- All keys of a federation F begin with the hash tag `{F}`: they live in one slot and change in one transaction.
- Nothing is rounded: vectors are int64 little-endian, floats the shortest decimals that give them back. Messages are as on
  the wire.
- What was not written here is LedgerAltered when it is read; nothing is guessed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from math import isfinite, nan
from typing import Any

import numpy as np

from fedkseed.codec import decode
from fedkseed.errors import DecodeError, LedgerAltered
from fedkseed.federation import Policy, Robust, Rounds, Target, Training
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import BaseVersion, Head, Member, Pairs, Pending, frozen
from fedkseed.ledger.reports import Report, RoundReport
from fedkseed.ledger.statistics import BUCKETS, Bounds, Evidence, Integers, Statistics
from fedkseed.ledger.store import LastSeen
from fedkseed.messages import Receipt, Round
from fedkseed.packing import pack_integers, unpack_integers

SCHEMA = b"1"

Command = tuple[str | bytes | int, ...]  # of Redis, as data
Fields = Mapping[bytes, bytes]  # of a hash, or of an entry of a stream

VECTORS: Mapping[str, Callable[[Head], tuple[Integers, ...]]] = {  # keys, each int64[K] so many times
    "coefficients": lambda head: (head.coefficients,),
    "residue": lambda head: (head.residue,),
    "importance": lambda head: (head.importance_sums, head.importance_counts),
}
SUMS: Mapping[str, Callable[[Pending], Integers]] = {  # fields of `pending`, each int64[K], packed
    "numerators": lambda pending: pending.numerators,
    "importance": lambda pending: pending.importance_sums,
    "counts": lambda pending: pending.importance_counts,
    "scalars": lambda pending: pending.scalars,  # int64[BUCKETS]
}

LEARNT = ("scalars", "norms", "examples")  # fields of `robust`, each int64[BUCKETS]


def key(federation: str, name: str) -> str:
    """The key of a part of a federation."""
    return f"{{{federation}}}:{name}"


def paired(reply: list[bytes]) -> dict[bytes, bytes]:
    """Fields and values as Redis lists them."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


@contextmanager
def legible(what: str) -> Iterator[None]:
    """Turn what goes wrong when a part is read into one line that names it.

    Raises:
        LedgerAltered: the part is not what was written.
    """
    try:
        yield
    except KeyError as error:
        raise LedgerAltered(f"{what}: {_name(error)} is missing") from error
    except (ValueError, TypeError, ArithmeticError, DecodeError) as error:
        raise LedgerAltered(f"{what}: {error}") from error


def _name(error: KeyError) -> str:
    name = error.args[0]
    return name.decode() if isinstance(name, bytes) else str(name)


def vectors_bytes(*vectors: Integers) -> bytes:
    """Vectors of int64, one after the other, little-endian."""
    return b"".join(values.astype("<i8").tobytes() for values in vectors)


def vectors(data: bytes | None, count: int, size: int) -> tuple[Integers, ...]:
    """Read so many vectors of K integers.

    Raises:
        ValueError: there is another number of bytes.
    """
    if data is None or len(data) != 8 * count * size:
        raise ValueError(f"not {count} x {size} integers of 64 bits")
    values = np.frombuffer(data, "<i8").astype(np.int64)
    return tuple(frozen(part) for part in values.reshape(count, size))


def policy(data: bytes) -> Policy:
    """Read a policy, exactly as it was written.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    content = json.loads(data)
    rounds, robust = content["rounds"], content.get("robust")
    target, evaluators = rounds.pop("target"), tuple(rounds.pop("evaluators"))
    rounds = Rounds(**rounds, target=target and Target(**target), evaluators=evaluators)
    return Policy(training=Training(**content["training"]), rounds=rounds, robust=robust and Robust(**robust))


def base_bytes(base: BaseVersion) -> bytes:
    """What is remembered of a version, without its number."""
    return json.dumps([base.state.hex(), base.steps, base.participation, base.attempts]).encode()


def base(data: bytes) -> BaseVersion:
    """Read what is remembered of a version.

    Raises:
        ValueError, TypeError: it is something else.
    """
    state, steps, participation, attempts = json.loads(data)
    return BaseVersion(state=bytes.fromhex(state), steps=steps, participation=participation, attempts=attempts)


def last_seen_bytes(seen: LastSeen) -> bytes:
    """What was last heard of a client, without its name."""
    told = f", {_number(seen.report.loss)}, {_number(seen.report.seconds)}, {seen.report.size}" if seen.report else ""
    return f'[{seen.at!r}, {seen.base}, "{seen.outcome}"{told}]'.encode()  # as JSON has it; a call for each update adds up


def last_seen(data: bytes) -> LastSeen:
    """Read what was last heard of a client.

    Raises:
        ValueError, TypeError: it is something else.
    """
    at, base, outcome, *told = json.loads(data)
    return LastSeen(at=at, base=base, outcome=outcome, report=_report(*told) if told else None)


def heard_at(data: bytes) -> float:
    """When a client was last heard of: the first of what was written, and no more.

    Raises:
        ValueError: it is something else.
    """
    return float(data[1 : data.index(b",")])


def _report(loss: float | None, seconds: float | None, size: int) -> Report:
    return Report(loss=nan if loss is None else loss, seconds=nan if seconds is None else seconds, size=size)


def _number(value: float) -> str:
    return repr(value) if isfinite(value) else "null"


def report_commands(federation: str, added: Mapping[int, RoundReport], outdated: Sequence[int]) -> tuple[Command, ...]:
    """What adds to the reports of rounds, and drops the oldest of them."""
    name = key(federation, "reports")
    more = [
        ("HINCRBY", name, f"{version}:{field}", count)
        for version, report in added.items()
        for field, count in asdict(report).items()
        if count
    ]
    gone = [f"{version}:{field}" for version in outdated for field in RoundReport.__slots__]
    return (*more, ("HDEL", name, *gone)) if gone else (*more,)


def round_reports(fields: Fields) -> dict[int, RoundReport]:
    """Read the reports of rounds, by version.

    Raises:
        ValueError, TypeError: they are something else.
    """
    sums: dict[int, dict[str, int]] = {}
    for name, count in fields.items():
        version, _, field = name.decode().partition(":")
        sums.setdefault(int(version), {})[field] = int(count)
    return {version: RoundReport(**sums[version]) for version in sorted(sums)}


def receipt(data: bytes) -> Receipt:
    """Read a stored receipt.

    Raises:
        DecodeError: it is none.
    """
    if not isinstance(message := decode(data), Receipt):
        raise DecodeError("not a receipt")
    return message


def opened_round(data: bytes) -> Round:
    """Read a stored announcement.

    Raises:
        DecodeError: it is none.
    """
    if not isinstance(message := decode(data), Round):
        raise DecodeError("not a round")
    return message


def entry(commit: Commit) -> tuple[str | bytes, ...]:
    """A commit as fields and values of an entry of the log, without its version."""
    members = [(member.client, member.base, *weighed(member)) for member in commit.members]
    fields: dict[str, str | bytes] = {
        "kind": commit.kind,
        "delta": commit.delta,
        "members": json.dumps(members, separators=(",", ":")),
        "weight": str(commit.weight),
        "lr": repr(commit.lr),
        "policy": commit.policy_digest,
        "round": commit.round,
        "state": commit.state,
        "closed_at": repr(commit.closed_at),
    }
    if commit.bounds:
        fields["bounds"] = json.dumps(astuple(commit.bounds))
    if commit.to is not None:
        fields["to"] = str(commit.to)
    if commit.forgotten:
        fields["forgotten"] = commit.forgotten
    if commit.quarantined:
        fields["quarantined"] = json.dumps(commit.quarantined)
    return tuple(part for pair in fields.items() for part in pair)


def commit(name: bytes, fields: Fields) -> Commit:
    """Read an entry of the log.

    Raises:
        LedgerAltered: it is not what was written.
    """
    with legible(f"log, entry {name.decode()}"):
        kind: Any = fields[b"kind"].decode()
        return Commit(
            version=version_of(name),
            kind=kind,
            delta=fields[b"delta"],
            members=tuple(member(*values) for values in json.loads(fields[b"members"])),
            weight=int(fields[b"weight"]),
            lr=float(fields[b"lr"]),
            policy_digest=fields[b"policy"].decode(),
            round=fields[b"round"],
            state=fields[b"state"],
            closed_at=float(fields[b"closed_at"]),
            bounds=bounds(json.loads(fields.get(b"bounds", b"null"))),
            to=int(fields[b"to"]) if b"to" in fields else None,
            forgotten=fields.get(b"forgotten", b"").decode(),
            quarantined=tuple(json.loads(fields.get(b"quarantined", b"[]"))),
        )


def weighed(member: Member) -> tuple[int, ...]:
    """What is kept of a member besides its identity: omega, staleness, and its evidence where folding is robust."""
    return (member.omega, member.staleness, *(astuple(member.evidence) if member.evidence else ()))


def member(client: str, base: int, omega: int, staleness: int, *evidence: int) -> Member:
    """An update that a round folded.

    Raises:
        ValueError: there is evidence, but not all of it.
    """
    if not evidence:
        return Member(client=client, base=base, omega=omega, staleness=staleness)
    norm, examples, agreement, compared = evidence
    known = Evidence(norm=norm, examples=examples, agreement=agreement, compared=compared)
    return Member(client=client, base=base, omega=omega, staleness=staleness, evidence=known)


def pairs(data: bytes) -> Pairs:
    """Read the pairs of a member: as many seed indices as scalars, two bytes each.

    Raises:
        ValueError: there is another number of bytes.
    """
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes are not pairs")
    return data[: len(data) // 2], data[len(data) // 2 :]


def bounds(values: Sequence[int] | None) -> Bounds | None:
    """Read bounds as they were written, one after the other.

    Raises:
        ValueError: there are not three.
    """
    if values is None:
        return None
    scalar, norm, examples = values
    return Bounds(scalar=scalar, norm=norm, examples=examples)


def statistics_fields(statistics: Statistics) -> tuple[str | bytes, ...]:
    """What robust folding knows, as fields and values of a hash."""
    fields: dict[str, str | bytes] = {
        **{name: pack_integers(getattr(statistics, name)) for name in LEARNT},
        "suspicion": json.dumps(dict(statistics.suspicion), sort_keys=True),
        "quarantined": json.dumps(dict(statistics.quarantined), sort_keys=True),
        "bounds": json.dumps(statistics.bounds and astuple(statistics.bounds)),
    }
    return tuple(part for pair in fields.items() for part in pair)


def statistics(fields: Fields) -> Statistics:
    """Read what robust folding knows.

    Raises:
        KeyError, ValueError, TypeError, DecodeError: it is something else.
    """
    counted = {name: frozen(unpack_integers(fields[name.encode()], BUCKETS)) for name in LEARNT}
    return Statistics(
        **counted,
        suspicion=json.loads(fields[b"suspicion"]),
        quarantined=json.loads(fields[b"quarantined"]),
        bounds=bounds(json.loads(fields[b"bounds"])),
    )


def entry_id(version: int) -> str:
    """The explicit id of a version in the log: appending a version that is there fails by itself."""
    return f"{version}-0"


def version_of(name: bytes) -> int:
    """The version of an entry of the log.

    Raises:
        ValueError: its id is not one of a version.
    """
    version, _, rest = name.partition(b"-")
    if rest != b"0":
        raise ValueError(f"entry {name.decode()} is not a version")
    return int(version)
