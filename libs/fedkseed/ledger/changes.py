"""What takes a stored ledger from one head to the next, as commands of Redis. Pure.

Only what differs is written. For every part that is, the hash `head` notes the revision (`at:<part>`), so that whoever
knows an older head reads only the parts that are newer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fedkseed.codec import encode
from fedkseed.ledger import records
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.digest import policy_bytes
from fedkseed.ledger.head import BaseVersion, Head, nothing_pending
from fedkseed.ledger.records import SUMS, VECTORS, Command, entry, entry_id, key
from fedkseed.packing import pack_integers


def founding(head: Head) -> tuple[Command, ...]:
    """Everything that a ledger begins with."""
    federation = head.genesis.federation
    return (
        ("SET", key(federation, "schema"), records.SCHEMA),
        ("SET", key(federation, "genesis"), head.genesis_bytes),
        *changes(None, head),
    )


def changes(before: Head | None, after: Head, commits: Sequence[Commit] = ()) -> tuple[Command, ...]:
    """What takes a stored ledger from one head to another.

    Args:
        before: what is stored; None when nothing is.
        after: a head of the same federation.
        commits: the versions between them, for the log.
    """
    federation = after.genesis.federation
    parts: dict[str, list[Command]] = {
        "policy": _policy(before, after),
        **{name: _vector(name, before, after) for name in VECTORS},
        "robust": _robust(before, after),
        "pending": _pending(before, after),
        "pairs": _pairs(before, after),
        "evaluations": _evaluations(before, after),
        **{f"inbox:{base}": _inbox(before, after, base) for base in after.inbox},
    }
    touched = [part for part, commands in parts.items() if commands]
    gone = sorted(before.inbox.keys() - after.inbox.keys()) if before else []
    return (
        *(("XADD", key(federation, "log"), entry_id(commit.version), *entry(commit)) for commit in commits),
        *(command for part in touched for command in parts[part]),
        *(("DEL", key(federation, f"inbox:{base}")) for base in gone),
        *_head(before, after, touched),
    )


def _policy(before: Head | None, after: Head) -> list[Command]:
    if before is not None and before.policy == after.policy:
        return []
    return [("SET", key(after.genesis.federation, "policy"), policy_bytes(after.policy))]


def _vector(name: str, before: Head | None, after: Head) -> list[Command]:
    new = VECTORS[name](after)
    if before is not None and all(map(np.array_equal, VECTORS[name](before), new)):
        return []
    return [("SET", key(after.genesis.federation, name), records.vectors_bytes(*new))]


def _robust(before: Head | None, after: Head) -> list[Command]:
    """What robust folding knows, written whole; it changes with a version, or when a client is readmitted."""
    old, new = before.robust if before else None, after.robust
    if old is new:
        return []
    name = key(after.genesis.federation, "robust")
    write: list[Command] = [("HSET", name, *records.statistics_fields(new))] if new else []
    return [("DEL", name), *write]


def _pending(before: Head | None, after: Head) -> list[Command]:
    """The open round: sums that changed and members that came; another round begins from nothing."""
    name, new = key(after.genesis.federation, "pending"), after.pending
    old = before.pending if before else nothing_pending(after.size)
    if old is new:
        return []
    stored = {(member.client, member.base): member for member in old.members}
    come = [m for m in new.members if (known := stored.get((m.client, m.base))) is not m and known != m]
    commands: list[Command] = []
    if len(come) + len(stored) != len(new.members) or (before and before.version != after.version):
        commands += [("DEL", name)] if old.members else []
        old, come = nothing_pending(after.size), list(new.members)
    fields: list[str | bytes | int] = []
    for field, vector in SUMS.items():
        if not np.array_equal(vector(old), vector(new)):
            fields += [field, pack_integers(vector(new))]
    for member in come:
        fields += [f"{member.client}/{member.base}", " ".join(map(str, records.weighed(member)))]
    if new.weight != old.weight:
        fields += ["weight", new.weight]
    return commands + ([("HSET", name, *fields)] if fields else [])


def _pairs(before: Head | None, after: Head) -> list[Command]:
    """The pairs of members that came, where folding is robust; another round begins from nothing."""
    name, new = key(after.genesis.federation, "pairs"), after.pending.pairs
    old = before.pending.pairs if before else {}
    if old == new:
        return []
    ended = not old.keys() <= new.keys()
    fields: list[str | bytes] = []
    for (client, base), (k, g) in new.items():
        if ended or (client, base) not in old:
            fields += [f"{client}/{base}", k + g]
    return ([("DEL", name)] if ended else []) + ([("HSET", name, *fields)] if fields else [])


def _evaluations(before: Head | None, after: Head) -> list[Command]:
    old = before.evaluations if before else {}
    fields: list[str | int] = []
    for version, scores in after.evaluations.items():
        if old.get(version) != scores:
            fields += [version, json.dumps(scores)]
    return [("HSET", key(after.genesis.federation, "evaluations"), *fields)] if fields else []


def _inbox(before: Head | None, after: Head, base: int) -> list[Command]:
    """The receipts of a base version that are new or another."""
    old, new = before.inbox.get(base, {}) if before else {}, after.inbox[base]
    if old is new:
        return []
    fields: list[str | bytes] = []
    for client, receipt in new.items():
        if (known := old.get(client)) is not receipt and known != receipt:
            fields += [client, encode(receipt)]
    return [("HSET", key(after.genesis.federation, f"inbox:{base}"), *fields)] if fields else []


def _head(before: Head | None, after: Head, touched: Sequence[str]) -> Iterator[Command]:
    """The hash that every change writes: where the ledger stands, and at which revision each part was written."""
    name = key(after.genesis.federation, "head")
    old, new = _standing(before) if before else {}, _standing(after)
    written: dict[str, str | bytes | int] = {field: value for field, value in new.items() if old.get(field) != value}
    if before is None or before.round != after.round:
        written["round"] = encode(after.round)
    window: Mapping[int, BaseVersion] = before.window if before else {}
    written |= {f"base:{base}": records.base_bytes(kept) for base, kept in after.window.items() if window.get(base) != kept}
    written |= {f"at:{part}": after.revision for part in touched}
    yield ("HSET", name, *(part for pair in written.items() for part in pair))
    if gone := sorted(window.keys() - after.window.keys()):
        yield ("HDEL", name, *(field for base in gone for field in (f"base:{base}", f"at:inbox:{base}")))


def _standing(head: Head) -> dict[str, str | int]:
    return {
        "version": head.version,
        "attempt": head.round.attempt,
        "revision": head.revision,
        "floor": head.floor,
        "forgot": head.forgot,
        "state": head.state,
        "members": len(head.pending.members),
        "announced": "{}.{}".format(*head.announced) if head.announced else "",
    }
