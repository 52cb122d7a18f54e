"""What a round costs each of its clients in bytes: every announcement of it, their update, its receipt; with AMQP's frames.

An update weighs what it weighed when it came here; the other two are written by this side. Members whose updates came to
another aggregator are not known here.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from fedkseed.codec import encode
from fedkseed.ledger.head import Member
from fedkseed.messages import Receipt, Round, Update
from fedkseed.transport.framing import delivered, published
from fedkseed.transport.topology import to_aggregator, to_all, to_client
from fedkseed_aggregator.events import Arrival

AGGREGATOR = "aggregator"  # as whom it is taken to sign
SIZES = 1 << 10  # that are remembered: of letters and names, not of clients


@lru_cache(SIZES)
def _framed(federation: str, length: int, update: int, receipt: int) -> int:
    """An update and its receipt, with their frames; of a client whose name has so many letters."""
    client = "-" * length
    there, back = to_aggregator(federation, "update", client), to_client(federation, client)
    sent = published(exchange=there.exchange, key=there.key, body=update, user=client, headers={})
    return sent + delivered(exchange=back.exchange, key=back.key, body=receipt, user=AGGREGATOR, headers={})


class Costs:
    """Sizes of the updates that the open round counts, and of their receipts."""

    def __init__(self) -> None:
        self._arriving: dict[tuple[str, int], int] = {}  # bodies, by (client, base)
        self._counted: dict[tuple[str, int], int] = {}

    def arrived(self, arrivals: Iterable[Arrival[Update]]) -> None:
        """Updates are about to be decided."""
        self._arriving = {(arrival.message.client, arrival.message.base): arrival.size for arrival in arrivals}

    def counted(self, receipt: Receipt) -> None:
        """One of them counts."""
        update = (receipt.client, receipt.base)
        self._counted[update] = _framed(receipt.federation, len(receipt.client), self._arriving[update], len(encode(receipt)))

    def of_round(self, closed: Round, members: Sequence[Member]) -> list[int]:
        """Bytes for each member that is known here; `closed` is the last announcement of the round."""
        to = to_all(closed.federation)
        one = delivered(exchange=to.exchange, key=to.key, body=len(encode(closed)), user=AGGREGATOR, headers={})
        known = (self._counted.get((member.client, member.base)) for member in members)
        return [size + one * (closed.attempt + 1) for size in known if size is not None]

    def keep(self, members: Sequence[Member]) -> None:
        """Forget all but the members of the open round."""
        if len(self._counted) > len(members):
            current = {(member.client, member.base) for member in members}
            self._counted = {update: size for update, size in self._counted.items() if update in current}
