"""The product's aggregator, at whose edge somebody can make it die, or misbehave.

The command is the product's own; replaced are only its edge to the world and, for a mutant, one rule. Nothing of this is in
the product. A point of death is armed by a file that holds its name (FAULTS_ARMED); whoever reaches the point next removes
the file and kills itself with SIGKILL, so that neither Python nor the kernel's peers are told anything.

    FAULTS_ARMED=FILE [FAULTS_MUTANT=NAME] python -m benchmarks.faults.aggregator
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.faults.mutants import MUTANTS
from fedkseed.ledger import redis
from fedkseed.ledger.connection import Connection
from fedkseed.ledger.records import Command
from fedkseed.messages import Receipt, Round
from fedkseed.transport.door import Acknowledge, Publish
from fedkseed_aggregator import shell
from fedkseed_aggregator.effects import Effect, Fold, MarkAnnounced
from fedkseed_aggregator.events import Event
from fedkseed_cli import __main__ as command

Reached = Callable[[Effect], bool]


def _says(kind: type[Round | Receipt]) -> Reached:
    """Whether letters of a kind are about to be published."""
    return lambda effect: isinstance(effect, Publish) and any(isinstance(letter.content, kind) for letter in effect.letters)


BEFORE: Mapping[str, Reached] = {
    "before-fold": lambda effect: isinstance(effect, Fold),
    "before-receipts": _says(Receipt),  # the transaction is done
    "before-announcement": _says(Round),  # a round is closed
    "before-mark": lambda effect: isinstance(effect, MarkAnnounced),  # the announcement is confirmed
    "before-acknowledgement": lambda effect: isinstance(effect, Acknowledge),
}
HALF, UNANSWERED = "half-a-close", "unanswered-close"  # the transaction that closes a round is sent in part; in full
POINTS = (*BEFORE, HALF, UNANSWERED)


def armed() -> Path:
    """The file that says where to die."""
    return Path(os.environ["FAULTS_ARMED"])


def reached(*points: str) -> str | None:
    """Which of the points is armed."""
    try:
        point = armed().read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return point if point in points else None


def die() -> NoReturn:
    """Be killed."""
    armed().unlink(missing_ok=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")


class MortalShell(shell.Shell):
    """Dies before an effect."""

    def carry_out(self, effect: Effect) -> Iterable[Event]:
        """See Shell."""
        if reached(*(point for point, is_there in BEFORE.items() if is_there(effect))):
            die()
        return super().carry_out(effect)


class MortalConnection(Connection):
    """Dies within a transaction that closes a round."""

    def transaction(self, *commands: Command) -> list[Any] | None:
        """See Connection."""
        if any(command[0] == "XADD" for command in commands) and (point := reached(HALF, UNANSWERED)):
            sent = commands[: len(commands) // 2] if point == HALF else (*commands, ("EXEC",))
            self._connection.send_packed_command(self._connection.pack_commands((("MULTI",), *sent)))
            die()
        return super().transaction(*commands)


def main() -> None:
    """Run the command `fedkseed aggregator`."""
    vars(shell)["Shell"] = MortalShell
    vars(redis)["Connection"] = MortalConnection
    if name := os.environ.get("FAULTS_MUTANT"):
        MUTANTS[name]()
    sys.argv = ["fedkseed", "aggregator"]
    command.main()


if __name__ == "__main__":
    main()
