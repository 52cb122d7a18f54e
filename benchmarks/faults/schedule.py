"""Which faults, in which order: the same for the same seed. Pure.

A deck holds every kind as often as its weight says; decks are shuffled and played one after the other, so that a run that is
long enough has all kinds, and a run that ends early has no favourites.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A fault that is to be played."""

    number: int
    kind: str
    seed: int  # of whom it hits, and for how long


def schedule(seed: int, weights: Mapping[str, int]) -> Iterator[Planned]:
    """Faults without end.

    Args:
        seed: of the order, and of each fault.
        weights: how often a kind is in a deck.
    """
    dice = Random(seed)  # noqa: S311 - faults are no secret
    numbers = count()
    while True:
        deck = [kind for kind, weight in weights.items() for _ in range(weight)]
        dice.shuffle(deck)
        for kind in deck:
            yield Planned(number=next(numbers), kind=kind, seed=dice.getrandbits(32))
