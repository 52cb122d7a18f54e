"""How far each update of a round agrees with the other clients of that round: known when it closes, in integers.

At every seed, what the other clients found there, weighted and added up, has a sign. An update agrees by the sizes of its
sums with that sign, less the sizes of those with the other one, as a share of both. Sums that are mostly noise are small and
weigh little. Nothing depends on the order of the members, nor on the process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fedkseed.ledger.head import Member, Pending
from fedkseed.ledger.screen import cut
from fedkseed.ledger.statistics import PAIR, Bounds, Integers
from fedkseed.ledger.tally import FULL_WEIGHT, Tally, of_pairs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Voice:
    """What an update says about the direction of a round: nothing at seeds where it was cut."""

    member: Member
    seeds: NDArray[np.intp]
    sums: Integers
    weighted: Integers
    counts: Integers  # pairs at each of these seeds
    cut: int  # pairs at the other ones


def judged(pending: Pending, bounds: Bounds) -> tuple[Member, ...]:
    """The members of a round with their agreement.

    Args:
        pending: what the round folded, with the pairs of its members.
        bounds: beyond which an update disagrees, whatever its signs, and says nothing about others.
    """
    tallies = of_pairs([pending.pairs[member.client, member.base] for member in pending.members])
    voices = [_voice(member, tally, bounds) for member, tally in zip(pending.members, tallies, strict=True)]
    sums = np.zeros(len(pending.numerators), np.int64)
    for voice in voices:
        sums[voice.seeds] += voice.weighted
    by_client = groupby(voices, key=lambda voice: voice.member.client)  # members are sorted
    return tuple(member for _, own in by_client for member in _against_others(list(own), sums))


def _against_others(own: Sequence[_Voice], sums: Integers) -> list[Member]:
    """The members of one client: it does not agree with itself, however often it comes. The sums are as before in the end."""
    for voice in own:
        sums[voice.seeds] -= voice.weighted
    members = [_with_agreement(voice, np.sign(sums[voice.seeds])) for voice in own]
    for voice in own:
        sums[voice.seeds] += voice.weighted
    return members


def _voice(member: Member, tally: Tally, bounds: Bounds) -> _Voice:
    """An update without the seeds where a scalar is beyond the bounds; without any where its norm is."""
    _, shortened = cut(tally, bounds)
    beyond = np.repeat(np.arange(len(tally.seeds)), tally.counts)[np.abs(tally.pairs) > bounds.scalar]
    heard = np.full(len(tally.seeds), not shortened)
    heard[beyond] = False
    omega = min(member.omega, FULL_WEIGHT * bounds.examples)  # a round that only measured has bounded no weight
    return _Voice(
        member=member,
        seeds=tally.seeds[heard],
        sums=tally.sums[heard],
        weighted=omega * tally.sums[heard],
        counts=tally.counts[heard],
        cut=int(tally.counts[~heard].sum()),
    )


def _with_agreement(voice: _Voice, signs: Integers) -> Member:
    """A member with the pairs that could be compared, and how many more of them agree: a share, rounded half up."""
    told = np.abs(signs)  # 1 where the others have a sign
    agreeing, sizes, pairs = (int(part.sum()) for part in (signs * voice.sums, told * np.abs(voice.sums), told * voice.counts))
    share = (2 * PAIR * agreeing + sizes) // (2 * sizes) if sizes else 0
    known = voice.member.evidence
    evidence = known and replace(known, agreement=share * pairs - PAIR * voice.cut, compared=pairs + voice.cut)
    return replace(voice.member, evidence=evidence)
