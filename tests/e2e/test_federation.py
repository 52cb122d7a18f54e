"""What a federation of real processes does, and survives."""

from fedkseed.ledger.log import verify
from tests.embedded import TOY
from tests.processes import PATIENCE_SECONDS, until
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server
from tests.toys import party

__all__ = ["party", "rabbit", "redis_server", "vhost"]


def test_processes_train_a_model_together(party):
    """One aggregator, three clients, an evaluator: the log verifies, everybody ends, and what was sent was folded once."""
    toy = party(rounds={"cohort": 3, "max_staleness": 2, "total": 4, "deadline_seconds": 60})
    toy.start("aggregator", "aggregator")
    for i, name in enumerate(("ann", "bob", "cyd")):
        toy.start("client", name, TOY[i::3])
    toy.start("evaluator", "evaluator", TOY[:20])
    until(lambda: toy.ledger.head().state == "closed")
    toy.end("ann", "bob", "cyd", "evaluator")
    assert toy.services["aggregator"].stop() == 0

    head, commits = toy.ledger.head(), tuple(toy.ledger.commits())
    assert verify(commits, head.genesis_bytes, head.size) == 4
    members = [(member.client, member.base) for commit in commits for member in commit.members]
    assert len(members) == len(set(members)) == 12
    assert set(members) <= {(name, line["base"]) for name in ("ann", "bob", "cyd") for line in toy.wrote(name, "sent")}
    assert head.evaluations[4]["loss"] < head.evaluations[0]["loss"]


def test_nothing_is_lost_or_counted_twice_whatever_is_killed(party, rabbit, redis_server):
    """Two aggregators, clients of uneven speed, one that joins late; everything that can die does, once."""
    toy = party(
        training={"steps": 24, "batch": 4},
        rounds={
            "cohort": 3,
            "max_staleness": 4,
            "staleness_law": "polynomial",
            "total": 20,
            "minimum": 3,
            "deadline_seconds": 20,
        },
    )
    clients = ("ann", "bob", "cyd", "dan")
    rows = {
        name: [{**row, "text": " ".join([row["text"]] * (1 + 6 * i))} for row in TOY[i::4]] for i, name in enumerate(clients)
    }
    toy.start("aggregator", "first")
    toy.start("aggregator", "second")
    toy.start("evaluator", "evaluator", TOY[:20], FEDKSEED_EVERY="5")
    for name, memory in zip(clients[:3], ("auto", "resident", "streaming"), strict=True):
        toy.start("client", name, rows[name], FEDKSEED_MEMORY=memory)

    toy.reach(2)
    toy.services["first"].kill()
    toy.reach(4)
    toy.services["first"].start()
    toy.services["bob"].kill()
    toy.services["bob"].start()
    toy.reach(7)
    rabbit.restart()
    toy.reach(9)
    redis_server.restart()
    toy.reach(12)
    toy.services["ann"].stop()  # from now on a round needs the newcomer
    toy.start("client", "dan", rows["dan"])
    until(lambda: toy.wrote("dan", "receipts"))
    toy.services["ann"].start()
    until(lambda: toy.ledger.head().state == "closed")
    toy.end(*clients, "evaluator")
    for name in clients:  # news that training is over may overtake a last receipt, which then waits in the client's queue
        toy.services[name].start()
    until(lambda: not any(toy.unanswered(name) for name in clients))
    toy.end(*clients)
    assert [toy.services[name].stop() for name in ("first", "second")] == [0, 0]

    head, commits = toy.ledger.head(), tuple(toy.ledger.commits())
    assert verify(commits, head.genesis_bytes, head.size) == 20
    members = [(member.client, member.base, member.omega) for commit in commits for member in commit.members]
    assert len(members) == len(set(members))
    for name in clients:
        receipts = {}
        for line in toy.wrote(name, "receipts"):
            assert receipts.setdefault(line["base"], line) == line, "a second, different receipt"
        assert receipts.keys() == {line["base"] for line in toy.wrote(name, "sent")}, "a receipt without an update"
        counted = {(name, base, line["weight"]) for base, line in receipts.items() if line["weight"]}
        assert counted == {member for member in members if member[0] == name}
    assert {base for client, base, _ in members if client == "dan"}
    assert head.evaluations.keys() >= {0, 20}
    assert {toy.final(name) for name in (*clients, "evaluator")} == {toy.rebuilt()}


def test_a_long_training_keeps_its_connection(party):
    """Training for more than ten heartbeat intervals: the update is delivered over the connection that was there."""
    toy = party(
        training={"steps": 3000, "lr": 1e-6}, rounds={"cohort": 1, "total": 1, "deadline_seconds": 600}, query="?heartbeat=1"
    )
    toy.start("aggregator", "aggregator")
    ann = toy.start("client", "ann")
    toy.end("ann", seconds=10 * PATIENCE_SECONDS)
    assert "disconnected" not in ann.log.read_text()
    ann.start()  # as above: a last receipt may wait in its queue
    until(lambda: not toy.unanswered("ann"))
    (sent,), (receipt,) = toy.wrote("ann", "sent"), toy.wrote("ann", "receipts")
    (member,) = next(toy.ledger.commits()).members
    assert (receipt["outcome"], receipt["base"], len(sent["gradients"])) == ("folded", 0, 3000)
    assert member.client == "ann"
    assert sent["seconds"] > 10


def test_who_is_stopped_in_the_middle_of_its_work_ends_well(party):
    """A client that trains and an evaluator that scores end as asked, not by what torch does to a process that leaves it."""
    toy = party(training={"steps": 60_000, "lr": 1e-6}, rounds={"cohort": 1, "total": 1, "deadline_seconds": 600})
    toy.start("aggregator", "aggregator")
    busy = toy.start("client", "ann"), toy.start("evaluator", "evaluator", TOY * 1000)
    until(lambda: all("base opened" in program.log.read_text() for program in busy))
    assert [program.stop() for program in busy] == [0, 0]
    assert toy.wrote("ann", "sent") == []
    assert not toy.ledger.head().evaluations
