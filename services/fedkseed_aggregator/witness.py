"""The witness: who starts, or finds Redis again, compares the ledger with the last announcement that the broker remembers.

A Redis that was restored from a backup, or whose file was cut off, does not know what it has lost; the broker, which is
outside, knows how far the federation had come. At the start all this is before the first delivery: a ledger that is refused
has given nothing away, and no letter counts as delivered in vain.

The broker is asked first, and the ledger after that. What is announced was in the ledger before, so a head that was read
later is never older than the announcement, whatever other aggregators do meanwhile.
"""

import logging
from collections.abc import Callable
from typing import Literal

from fedkseed.codec import decode
from fedkseed.errors import DecodeError, LedgerBehind, QueueMissing
from fedkseed.ledger.head import Head
from fedkseed.ledger.store import LedgerStore
from fedkseed.messages import STATE_BYTES, Round
from fedkseed.transport.broker import Broker, Delivery
from fedkseed.transport.topology import last_queue

LOOKS = 10  # another aggregator that looks has the only letter for a moment
PAUSE_SECONDS = 0.5
LOG = logging.getLogger(__name__)

Verdict = LedgerBehind | Literal["agreed", "again", "forgotten"]


def judge(head: Head, remembered: Round | None, looks: int) -> Verdict:
    """Decide whether a ledger may be served.

    Args:
        head: read after the broker was asked.
        remembered: the last announcement, if the broker has one.
        looks: how often the broker was asked.

    Returns:
        The error that it must not; or that the two agree, that the broker should be asked again, or that it remembers
        nothing of what was announced, as one that was set up anew.
    """
    if remembered is None:
        return "agreed" if head.announced is None else "again" if looks < LOOKS else "forgotten"
    newest, announced = (head.version, head.round.attempt), (remembered.version, remembered.attempt)
    state = head.states.get(remembered.version, remembered.state)[:STATE_BYTES]
    if announced <= newest and state == remembered.state:
        return "agreed"
    name = head.genesis.federation
    return LedgerBehind(
        f"the ledger of {name} is at {_named(newest, head.digest)}, but {_named(announced, remembered.state)} was announced: "
        f"restore its newest state; if the federation was founded anew, remove the queue {last_queue(name)} first"
    )


def question(store: LedgerStore, broker: Broker, federation: str, wait: Callable[[float], bool]) -> None:
    """Ask the broker, as often as it takes, and refuse a ledger that is behind.

    Args:
        store: the ledger.
        broker: a connection, perhaps not started yet.
        federation: whose ledger it is.
        wait: lets seconds pass; true when there is nothing more to wait for.

    Raises:
        LedgerBehind: the ledger is older than what was announced, or another one.
        BrokerError: the connection was closed.
    """
    for looks in range(1, LOOKS + 1):
        remembered = recollect(broker, federation)
        match judge(store.head(), remembered, looks):
            case LedgerBehind() as error:
                raise error
            case "again" if not wait(PAUSE_SECONDS):
                continue
            case "forgotten":
                LOG.warning("the broker remembers no announcement of %s; going on with what the ledger says", federation)
        return


def recollect(broker: Broker, federation: str) -> Round | None:
    """The last announcement that the broker remembers; none while somebody else looks at it, and of a new broker."""
    try:
        letters = broker.look(last_queue(federation))
    except QueueMissing:
        return None
    return next((round_ for letter in reversed(letters) if (round_ := _round(letter))), None)


def _round(letter: Delivery) -> Round | None:
    try:
        message = decode(letter.body)
    except DecodeError:
        return None
    return message if isinstance(message, Round) else None


def _named(version: tuple[int, int], state: bytes) -> str:
    return f"version {version[0]}, attempt {version[1]} (state {state.hex():.8})"
