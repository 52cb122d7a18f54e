"""Ledgers in Redis, and what to do to them."""

import threading

from fedkseed.ledger.fold import fold
from fedkseed.ledger.redis import RedisLedger
from tests.ledgers import NAME, genesis, ledger_bytes, policy, update


def founded(url, **settings) -> RedisLedger:
    """A store whose federation was founded; keywords are its policy."""
    return RedisLedger.found(url, genesis(), policy(**settings))


def through(wire, **settings) -> RedisLedger:
    """The same behind a wire."""
    return founded(f"redis://127.0.0.1:{wire.port}/0", **settings)


def folding(*updates):
    """The change that folds these updates."""
    return lambda head, now: fold(head, updates, now)


def fill(store, rounds=1) -> None:
    """Close rounds of two."""
    for _ in range(rounds):
        head = store.head()
        store.transact(folding(update(head, "ann", g=(1.3,)), update(head, "bob", k=(7,))))


def everything(store) -> bytes:
    """All that a store says about its ledger."""
    return ledger_bytes(store.head(), tuple(store.commits()))


def stored(server) -> bytes:
    """The same as a process reads it that knows nothing yet."""
    return everything(RedisLedger.open(server.url, NAME))


def key(name) -> str:
    return f"{{{NAME}}}:{name}"


def log_of_writes(server):
    """The append-only file of a server."""
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    return file


def in_threads(*actions) -> None:
    """Do things at the same time, and wait until all are done."""
    done = []
    threads = [threading.Thread(target=lambda action=action: done.append(action())) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == len(actions)
