"""Aggregators with a fault of design each, which the report must find: a checker that nothing fails proves nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fedkseed.ledger import fold
from fedkseed.ledger.head import Head
from fedkseed.ledger.tally import Tally
from fedkseed.messages import Update
from fedkseed.transport.door import Acknowledge
from fedkseed_aggregator import machine
from fedkseed_aggregator.effects import Fold

Step = Callable[[Any, Any], machine.Step]


def acknowledge_first() -> None:
    """Acknowledge deliveries before the ledger has them."""
    right: Step = machine.step

    def wrong(state: Any, event: Any) -> machine.Step:
        state, effects = right(state, event)
        early = (
            Acknowledge(tags=tuple(arrival.tag for arrival in fold.arrivals)) for fold in effects if isinstance(fold, Fold)
        )
        return state, (*early, *effects)

    machine.step = wrong


def forget_inbox() -> None:
    """Forget what became of an update once its round is closed, so that it counts again when it comes again."""
    right: Callable[..., Any] = vars(fold)["decide"]

    def wrong(head: Head, update: Update, tally: Tally | None = None) -> Any:
        # Within the open round it is remembered: counted twice there, the ledger could not even be read.
        if all((member.client, member.base) != (update.client, update.base) for member in head.pending.members):
            head = replace(head, inbox={base: {} for base in head.inbox})
        return right(head, update, tally)

    vars(fold)["decide"] = wrong


MUTANTS: Mapping[str, Callable[[], None]] = {"acknowledge-first": acknowledge_first, "forget-inbox": forget_inbox}
