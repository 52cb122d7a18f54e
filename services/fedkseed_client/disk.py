"""What a client keeps between runs: its state, whole or not at all, and a log of every update it ever made.

    state.json       the copy of the ledger, what is being trained, what is not confirmed yet
    sent.jsonl       one line per update, for the data owner: what left this machine
    receipts.jsonl   one line per receipt: what became of it; one that was delivered again stands there again

Messages are kept as they travel, so that a state from another version of fedkseed is refused, not misread.
"""

import base64
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedkseed import files
from fedkseed.codec import decode, encode
from fedkseed.errors import DecodeError, FileError
from fedkseed.messages import STATE_BYTES, Message, Receipt, Round, Update
from fedkseed.packing import pack_integers, unpack_integers
from fedkseed.replica import Held
from fedkseed_client.machine import Assignment, State, new

MAX_STATE = 1 << 28  # bytes: two versions, the rounds that wait, updates that nobody confirms


class Disk:
    """A client's directory; made if it is missing.

    Raises:
        FileError: it cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._state, self._sent = directory / "state.json", directory / "sent.jsonl"
        self._receipts = directory / "receipts.jsonl"
        self._logged = -1
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{directory}: {error.strerror}") from error

    def load(self, federation: str, client: str, examples: int) -> State:
        """The state that was saved last, or that of a client that has never run.

        Raises:
            FileError: the state cannot be read, or belongs to another federation or client.
        """
        fresh = new(federation, client, examples)
        if not self._state.exists():
            return fresh
        try:
            kept = json.loads(files.read(self._state, MAX_STATE).decode())
            if (kept["federation"], kept["client"]) != (federation, client):
                raise FileError(f"{self._state}: belongs to client {kept['client']} of federation {kept['federation']}")
            state = _verified(_restored(fresh, kept))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, DecodeError) as error:
            raise FileError(f"{self._state}: not a state of this client: {error}") from error
        self._logged = state.trained
        return state

    def save(self, state: State) -> None:
        """Keep a state, and log the updates that are new in it; what is on disk then stays there.

        Raises:
            FileError: it cannot be written.
        """
        try:
            for update in state.outbox:
                if update.base > self._logged:
                    self._log(update)
            partial = self._state.with_suffix(".partial")
            with partial.open("w", encoding="utf-8") as file:
                json.dump(_kept(state), file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._state)
        except OSError as error:
            raise FileError(f"{self._state}: {error.strerror}") from error

    def note(self, receipt: Receipt) -> None:
        """Write down what became of an update.

        Raises:
            FileError: it cannot be written.
        """
        try:
            _append(self._receipts, asdict(receipt))
        except OSError as error:
            raise FileError(f"{self._receipts}: {error.strerror}") from error

    def _log(self, update: Update) -> None:
        body = encode(update)
        line = {
            "base": update.base,
            "seed_indices": update.seed_indices.tolist(),
            "gradients": update.gradients.astype(float).tolist(),
            "examples": update.n,
            "loss": update.loss,
            "seconds": update.seconds,
            "bytes": len(body),
        }
        _append(self._sent, line)
        self._logged = update.base


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _kept(state: State) -> dict[str, Any]:
    replica, training = state.replica, state.training
    return {
        "federation": replica.federation,
        "client": state.client,
        "genesis": None if replica.genesis is None else replica.genesis.decode(),
        "held": None if replica.held is None else _version(replica.held.round, replica.held.coefficients),
        "waiting": [_text(round_) for round_ in replica.waiting],
        "mismatches": replica.mismatches,
        "training": None if training is None else _version(training.round, training.coefficients),
        "trained": state.trained,
        "declined": list(state.declined),
        "outbox": [_text(update) for update in state.outbox],
    }


def _restored(fresh: State, kept: dict[str, Any]) -> State:
    held = None if kept["held"] is None else Held(**_read_version(kept["held"]))
    numbers = [kept[name] for name in ("mismatches", "trained")] + kept["declined"]
    if len(numbers) != 4 or not all(type(number) is int for number in numbers):
        raise ValueError("a number is missing, or is none")
    replica = replace(
        fresh.replica,
        genesis=None if kept["genesis"] is None else kept["genesis"].encode(),
        held=held,
        waiting=tuple(_message(text, Round) for text in kept["waiting"]),
        mismatches=kept["mismatches"],
    )
    return replace(
        fresh,
        replica=replica,
        training=None if kept["training"] is None else Assignment(**_read_version(kept["training"])),
        trained=kept["trained"],
        declined=(kept["declined"][0], kept["declined"][1]),
        outbox=tuple(_message(text, Update) for text in kept["outbox"]),
    )


def _verified(state: State) -> State:
    """A state whose copy of the ledger is the one that was announced."""
    replica = state.replica
    if replica.held is not None and (replica.state is None or replica.state[1][:STATE_BYTES] != replica.held.round.state):
        raise ValueError(f"its copy of version {replica.held.version} does not match its digest")
    return state


def _version(round_: Round, coefficients: NDArray[np.int64]) -> dict[str, Any]:
    packed = base64.b64encode(pack_integers(coefficients)).decode()
    return {"round": _text(round_), "size": len(coefficients), "coefficients": packed}


def _read_version(kept: dict[str, Any]) -> dict[str, Any]:
    coefficients = unpack_integers(base64.b64decode(kept["coefficients"]), kept["size"])
    coefficients.setflags(write=False)
    return {"round": _message(kept["round"], Round), "coefficients": coefficients}


def _text(message: Message) -> str:
    return base64.b64encode(encode(message)).decode()


def _message(text: str, kind: type[Any]) -> Any:
    message = decode(base64.b64decode(text))
    if not isinstance(message, kind):
        raise DecodeError(f"a {type(message).__name__} where a {kind.__name__} should be")
    return message
