"""A client that is excluded, as a real process: it stops training, follows to the end, and says so by its exit code."""

from dataclasses import replace

from fedkseed.ledger.fold import Folded
from tests.embedded import TOY
from tests.processes import until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server
from tests.toys import party

__all__ = ["party", "rabbit", "redis_server", "vhost"]


def excluded(head, _):
    known = replace(head.robust, quarantined={"ann": 0})
    return replace(head, revision=head.revision + 1, robust=known), Folded()


def test_a_client_that_is_quarantined_follows_to_the_end_and_ends_with_its_own_code(party):
    toy = party(rounds={"cohort": 1, "total": 3, "deadline_seconds": 600}, robust={})
    toy.ledger.transact(excluded)
    toy.start("aggregator", "aggregator")
    toy.start("client", "ann", TOY[::2])
    until(lambda: any(line["outcome"] == "quarantined" for line in toy.wrote("ann", "receipts")))
    toy.start("client", "bob", TOY[1::2])
    until(lambda: toy.services["ann"].code is not None and toy.services["bob"].code is not None)
    assert (toy.services["ann"].code, toy.services["bob"].code) == (85, 0)
    assert "training stopped" in toy.services["ann"].log.read_text()
    assert len(toy.wrote("ann", "sent")) == 1
    assert toy.final("ann") == toy.final("bob") == toy.rebuilt()
    assert toy.services["aggregator"].stop() == 0
