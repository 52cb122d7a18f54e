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


def skip_inbox() -> None:
    """Decide every delivery anew, whatever was decided before."""
    right: Callable[..., Any] = vars(fold)["decide"]

    def wrong(head: Head, update: Update, tally: Tally | None = None) -> Any:
        return right(replace(head, inbox={base: {} for base in head.inbox}), update, tally)

    vars(fold)["decide"] = wrong


MUTANTS: Mapping[str, Callable[[], None]] = {"acknowledge-first": acknowledge_first, "skip-inbox": skip_inbox}
