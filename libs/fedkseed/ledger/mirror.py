"""A stored ledger as this process knows it: the head of one revision, and reading what is newer.

- While the revision stands, the known head is the head; after others wrote, only the parts that are newer are read.
- What is read for the first time, or after the connection was lost, is read and verified in full.
- A ledger older than what was seen of it here is refused: a backup was restored, or a file was cut off.
"""

from functools import lru_cache

from fedkseed.errors import GenesisMismatch, LedgerAltered, LedgerBehind, LedgerMissing, LedgerSchemaUnknown
from fedkseed.genesis import Genesis, genesis_digest
from fedkseed.ledger import image, records
from fedkseed.ledger.connection import Connection
from fedkseed.ledger.head import Head
from fedkseed.ledger.records import Command, entry_id, key, legible, paired, version_of

PAGE = 64  # entries of the log that are read at once
RECEIPTS = 1 << 14  # decoded receipts that are kept, so that what others file is decoded once

Entry = tuple[bytes, list[bytes]]  # of the log: its id, and fields and values in turn


class Mirror:
    """What is known of one stored ledger.

    Args:
        link: to where it is stored.
        federation: whose ledger it is.
        genesis_bytes: what its genesis must be; any without it.
    """

    def __init__(self, link: Connection, federation: str, genesis_bytes: bytes | None) -> None:
        self._link = link
        self._federation = federation
        self._genesis_bytes = genesis_bytes
        self._known: Head | None = None
        self._seen = -1  # newest revision
        self._receipt = lru_cache(RECEIPTS)(records.receipt)

    def at(self, revision: bytes | None) -> Head | None:
        """The known head, if it has this revision."""
        known = self._known
        return known if known and revision == str(known.revision).encode() else None

    def keep(self, head: Head) -> Head:
        """Know a head that is stored."""
        self._known, self._seen = head, head.revision
        return head

    def forget(self) -> None:
        """Trust nothing that was read over a connection that is lost."""
        self._known = None

    def catch_up(self) -> Head:
        """Read what is newer than the known head, all of it of one revision, and verify it.

        Raises:
            LedgerMissing, GenesisMismatch, LedgerSchemaUnknown: it is not a ledger for this process.
            LedgerAltered: what is stored does not verify.
            LedgerBehind: it is older than what was seen of it.
        """
        known, head = self._known, key(self._federation, "head")
        genesis_bytes = known.genesis_bytes if known else self._identify()
        while True:
            fields = paired(self._link.ask(("HGETALL", head))[0])
            versions, parts = image.unread(fields, known), image.newer(fields, known)
            states = self._states(versions)
            reads = [image.reading(self._federation, part) for part in parts]
            beyond: Command = ("XRANGE", key(self._federation, "log"), f"({entry_id(versions.stop - 1)}", "+", "COUNT", 1)
            # Every writer raises the revision: if it is the same after all was read, nobody wrote in between.
            *replies, later, revision = self._link.ask(*reads, beyond, ("HGET", head, "revision"))
            if revision == fields[b"revision"]:
                break
        if int(revision) < self._seen:
            raise LedgerBehind(f"the ledger is at revision {int(revision)}, older than {self._seen}, which was seen of it")
        if later:
            raise LedgerAltered(f"log: it goes on after version {versions.stop - 1}, where the head is")
        values = dict(zip(parts, replies, strict=True))
        stored = image.Stored(genesis_bytes=genesis_bytes, fields=fields, parts=values, states=states)
        return self.keep(image.read(stored, known, self._receipt))

    def page(self, first: int, last: int | None = None) -> list[Entry]:
        """Read some entries of the log, from a version on."""
        end = "+" if last is None else entry_id(last)
        command: Command = ("XRANGE", key(self._federation, "log"), entry_id(first), end, "COUNT", PAGE)
        return [(name, fields) for name, fields in self._link.ask(command)[0]]

    def _identify(self) -> bytes:
        """Read what never changes, and refuse what this process cannot or must not use."""
        schema, genesis_bytes = self._link.ask(("MGET", *(key(self._federation, name) for name in ("schema", "genesis"))))[0]
        if schema is None and genesis_bytes is None:
            raise LedgerMissing(f"no federation {self._federation} was founded in Redis at {self._link.where}")
        if schema != records.SCHEMA:
            raise LedgerSchemaUnknown(f"the ledger has schema {schema!r:.40}, this program knows {records.SCHEMA!r}")
        if genesis_bytes is None:
            raise LedgerAltered("genesis: it is missing")
        if self._genesis_bytes not in (None, genesis_bytes):
            ours, theirs = (genesis_digest(data).hex() for data in (self._genesis_bytes or b"", genesis_bytes))
            raise GenesisMismatch(f"federation {self._federation} was founded with genesis {theirs:.16}, this is {ours:.16}")
        if (name := Genesis.decode(genesis_bytes).federation) != self._federation:
            raise GenesisMismatch(f"the genesis of federation {self._federation} says it is {name}")
        return bytes(genesis_bytes)

    def _states(self, versions: range) -> dict[int, bytes]:
        """Read the state digests of versions from the log, as far as it goes."""
        states: dict[int, bytes] = {}
        first = versions.start
        while first < versions.stop and (page := self.page(first, versions.stop - 1)):
            for name, fields in page:
                with legible(f"log, entry {name.decode()}"):
                    states[version_of(name)] = paired(fields)[b"state"]
            first = version_of(page[-1][0]) + 1
        return states
