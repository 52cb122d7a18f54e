"""A ledger in Redis: several processes change it without a lock, and what was acknowledged is on disk.

- Every change is one optimistic transaction: WATCH the head, compute in this process, MULTI/EXEC with what differs. Another
  writer in between makes EXEC fail; the change is called again on the newer head, after a pause of at most MAX_PAUSE.
- A lost reply does not count twice. Every EXEC also writes a token of this attempt to a key of this store alone
  (`writer:<store>`). When the connection breaks between EXEC and its reply, the next attempt first watches the head, then
  reads that key. It holds the token of the lost attempt: that one happened, and what it produced is returned. It does
  not: the attempt is made again, and if the lost EXEC is still on its way, the first of the two makes the other fail.
  A process that was killed has no such memory: there the inbox tells, which answers an update that comes again with its
  first receipt.
- Who has lost LOST_RACES in a row asks for a turn (`turn`): the others wait until that change is kept, or TURN_SECONDS. Without
  it, one that takes long to compute would lose to small ones of others for as long as they come. Nothing but fairness
  depends on it.
- Redis must run with `appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction`. Times come from its TIME.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from fedkseed.errors import LedgerAltered, LedgerUnreachable
from fedkseed.federation import Policy
from fedkseed.genesis import Genesis
from fedkseed.ledger import records
from fedkseed.ledger.changes import changes, founding
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.connection import Connection
from fedkseed.ledger.fold import Folded, found
from fedkseed.ledger.head import Head
from fedkseed.ledger.mirror import Mirror
from fedkseed.ledger.records import Command, key, legible, paired
from fedkseed.ledger.reports import RoundReport
from fedkseed.ledger.store import MAX_CLIENTS, Change, LastSeen, check, forgettable, outdated, reported, sightings
from fedkseed.tls import Tls

MAX_PAUSE = 0.05  # seconds between two attempts of a change that lost a race
LOST_RACES = 3  # after which a store asks for a turn
TURN_SECONDS = 2  # how long it has one at the most
CROWD = MAX_CLIENTS + MAX_CLIENTS // 8  # clients noted when the oldest are forgotten; now and then is enough
TOKEN_SECONDS = 7 * 24 * 3600  # how long the token of a store that writes no more is kept

T = TypeVar("T")


class RedisLedger:
    """Keeps one ledger in Redis; threads may share it and are served one at a time.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with credentials.
        federation: whose ledger it is.
        genesis_bytes: what its genesis must be; any without it.
        tls: of rediss.
        renew: whether a connection that was lost is replaced in silence; else every loss is LedgerUnreachable once, for who
            wants to know that Redis may have come back with something else.

    Raises:
        SettingError: the URL is none, or a file of TLS cannot be used.
    """

    def __init__(
        self, url: str, federation: str, genesis_bytes: bytes | None = None, *, tls: Tls | None = None, renew: bool = True
    ) -> None:
        self._link = Connection(url, tls)
        self._mirror = Mirror(self._link, federation, genesis_bytes)
        self._federation = federation
        self._writer = self._key(f"writer:{secrets.token_hex(8)}")
        self._turn = self._key("turn")
        self._asked_for_turn = False
        self._attempts = 0
        self._lost: dict[bytes, Folded] = {}  # by token: what attempts whose fate is not known would have produced
        self._asked: Change | None = None  # what they attempted
        self._lock = threading.RLock()
        self._renew = renew

    @classmethod
    def found(cls, url: str, genesis_bytes: bytes, policy: Policy, *, tls: Tls | None = None) -> "RedisLedger":
        """Found a federation, or join it where it was founded with the same genesis: its stored policy stands.

        Raises:
            GenesisMismatch: the bytes are no genesis, or it was founded there with another.
            LedgerError: as for `open`.
        """
        ledger = cls(url, Genesis.decode(genesis_bytes).federation, genesis_bytes, tls=tls)
        with ledger._lock:
            ledger._twice(lambda: ledger._found(genesis_bytes, policy))
        ledger.head()
        return ledger

    @classmethod
    def open(cls, url: str, federation: str, genesis_bytes: bytes | None = None, *, tls: Tls | None = None) -> "RedisLedger":
        """Join a federation that was founded before; everything that is stored is verified.

        Raises:
            LedgerUnreachable: Redis does not answer; try again.
            LedgerUntrusted: the two do not agree on TLS.
            LedgerDenied: it refuses the credentials.
            LedgerMissing: the federation was not founded there.
            GenesisMismatch: it was founded with another genesis.
            LedgerSchemaUnknown: another version of this program wrote it.
            LedgerAltered: it does not verify.
        """
        ledger = cls(url, federation, genesis_bytes, tls=tls)
        ledger.head()
        return ledger

    def close(self) -> None:
        """Close the connection; the next call makes another."""
        with self._lock:
            self._link.close()

    def head(self) -> Head:
        """See LedgerStore."""
        with self._lock:
            return self._twice(self._head)

    def now(self) -> float:
        """See LedgerStore."""
        with self._lock:
            return self._twice(lambda: _seconds(self._link.ask(("TIME",))[0]))

    def transact(self, change: Change) -> Folded:
        """See LedgerStore."""
        with self._lock:
            if change is not self._asked:
                self._asked, self._lost = change, {}
            pauses, races = _pauses(), 0
            while (folded := self._twice(lambda: self._attempt(change))) is None:
                races += 1
                if races >= LOST_RACES:
                    self._twice(self._ask_for_turn)
                time.sleep(next(pauses))
            self._lost = {}
            return folded

    def commits(self, after: int = 0) -> Iterator[Commit]:
        """See LedgerStore."""
        while page := self._page(after + 1):
            for name, fields in page:
                yield records.commit(name, paired(fields))
            after = records.version_of(page[-1][0])

    def clients(self) -> Mapping[str, LastSeen]:
        """See LedgerStore."""
        with self._lock:
            return self._twice(self._clients)

    def reports(self) -> Mapping[int, RoundReport]:
        """See LedgerStore."""
        with self._lock:
            return self._twice(self._reports)

    def _key(self, name: str) -> str:
        return key(self._federation, name)

    def _twice(self, attempt: Callable[[], T]) -> T:
        """Replace a connection that was lost since it was last used, where that is wanted; more is the caller's business."""
        try:
            return attempt()
        except LedgerUnreachable:
            self._mirror.forget()
            if not self._renew:
                raise
            return attempt()

    def _head(self) -> Head:
        (revision,) = self._link.ask(("HGET", self._key("head"), "revision"))
        return self._mirror.at(revision) or self._mirror.catch_up()

    def _found(self, genesis_bytes: bytes, policy: Policy) -> None:
        """Write a ledger where none is; what another founder wrote in between stands."""
        genesis, head = self._key("genesis"), self._key("head")
        *_, stored, heads, now = self._link.ask(
            ("UNWATCH",), ("WATCH", genesis, head), ("GET", genesis), ("EXISTS", head), ("TIME",)
        )
        if stored is None and heads:
            raise LedgerAltered("genesis: it is missing")
        if stored is None:
            self._link.transaction(*founding(found(genesis_bytes, policy, _seconds(now))))

    def _attempt(self, change: Change) -> Folded | None:
        """Try a change once; None when another writer was faster, or has its turn."""
        head, token, now, turn = self._watch()
        if token in self._lost:
            return self._lost[token]
        if turn not in (None, self._writer.encode()):
            return None
        after, folded = change(head, now)
        check(head, after, folded)
        noted = self._noted(head, folded, now)
        if after is head:
            replies: list[Any] | None = self._link.ask(*self._turn_given_back(), *noted)
        else:
            token_kept: Command = ("SET", self._writer, self._token(folded), "EX", TOKEN_SECONDS)
            replies = self._link.transaction(
                *changes(head, after, folded.commits), token_kept, *self._turn_given_back(), *noted
            )
            if replies is None:
                return None
            self._mirror.keep(after)
        self._asked_for_turn = False
        if folded.receipts and replies and replies[-1] > CROWD:
            self._thin_out()
        return folded

    def _ask_for_turn(self) -> None:
        """Have the others wait, unless somebody has a turn already."""
        self._asked_for_turn = True
        self._link.ask(("SET", self._turn, self._writer, "NX", "EX", TURN_SECONDS))

    def _turn_given_back(self) -> tuple[Command, ...]:
        """What ends a turn together with the change that it was for."""
        return (("DEL", self._turn),) if self._asked_for_turn else ()

    def _watch(self) -> tuple[Head, bytes | None, float, bytes | None]:
        """Watch the head, then read it; with it the token that this store wrote last, the time, and whose turn it is."""
        *_, token, turn, revision, now = self._link.ask(
            ("UNWATCH",),
            ("WATCH", self._key("head")),
            ("GET", self._writer),
            ("GET", self._turn),
            ("HGET", self._key("head"), "revision"),
            ("TIME",),
        )
        return self._mirror.at(revision) or self._mirror.catch_up(), token, _seconds(now), turn

    def _token(self, folded: Folded) -> bytes:
        """Name an attempt, and remember what it will have produced if it happens."""
        self._attempts += 1
        token = str(self._attempts).encode()
        self._lost[token] = folded
        return token

    def _page(self, first: int) -> list[tuple[bytes, list[bytes]]]:
        with self._lock:
            return self._twice(lambda: self._mirror.page(first))

    def _clients(self) -> dict[str, LastSeen]:
        reply = self._link.ask(("HGETALL", self._key("clients")))[0]
        with legible("clients"):
            return {client.decode(): records.last_seen(data) for client, data in paired(reply).items()}

    def _reports(self) -> dict[int, RoundReport]:
        reply = self._link.ask(("HGETALL", self._key("reports")))[0]
        with legible("reports"):
            return records.round_reports(paired(reply))

    def _noted(self, before: Head, folded: Folded, now: float) -> tuple[Command, ...]:
        """The commands that note what was heard; where there are clients, the last one counts all that are noted."""
        reports = records.report_commands(self._federation, reported(before, folded), outdated(folded))
        if not (seen := sightings(folded, now)):
            return reports
        pairs = (part for client, last in seen.items() for part in (client, records.last_seen_bytes(last)))
        return (*reports, ("HSET", self._key("clients"), *pairs), ("HLEN", self._key("clients")))

    def _thin_out(self) -> None:
        """Forget whom nobody has heard of for longest; no more is read, as a large federation does this again and again."""
        reply = self._link.ask(("HGETALL", self._key("clients")))[0]
        with legible("clients"):
            heard = {client.decode(): records.heard_at(data) for client, data in paired(reply).items()}
        if names := forgettable(heard):
            self._link.ask(("HDEL", self._key("clients"), *names))


def _pauses() -> Iterator[float]:
    """Seconds to wait after each lost race: random, of a length that doubles up to MAX_PAUSE."""
    dice, longest = secrets.SystemRandom(), MAX_PAUSE / 64
    while True:
        yield dice.uniform(0, longest)
        longest = min(2 * longest, MAX_PAUSE)


def _seconds(reply: list[bytes]) -> float:
    """TIME as unix seconds."""
    return int(reply[0]) + int(reply[1]) / 1e6
