"""Dead letters as an operator sees them, over a real RabbitMQ."""

import json

import pytest

from fedkseed.codec import encode
from fedkseed.errors import BrokerError
from fedkseed.messages import SnapshotRequest
from fedkseed.transport.broker import Confirmed
from fedkseed.transport.door import Letter, seal
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import (
    DELIVERY_LIMIT,
    dead_queue,
    shared,
    to_aggregator,
    to_dead,
    updates_queue,
)
from fedkseed_cli import dead as command
from fedkseed_cli.dead import publish_again, read
from tests.embedded import fedkseed
from tests.ledgers import NAME, evaluation, ledger, update

HEAD = ledger()
ANN, BOB = (encode(update(HEAD, client)) for client in ("ann", "bob"))
ASKING = encode(SnapshotRequest(federation=NAME, client="cleo", have=None))
DEAD = dead_queue(NAME)


def dead(content, origin, reason="because") -> Letter:
    return Letter(to=to_dead(NAME), content=content, reason=reason, origin=origin)


@pytest.fixture
def owner(rabbit, vhost, place, monkeypatch):
    """Somebody at the broker of an environment that names it."""
    monkeypatch.setenv("FEDKSEED_FEDERATION", NAME)
    monkeypatch.setenv("FEDKSEED_AMQP_URL", rabbit.url(vhost))
    return place.somebody(shared(NAME))


@pytest.fixture
def bury(place, owner):
    """Put letters among the dead."""

    def put(*letters) -> None:
        owner.broker.publish(0, [seal(letter) for letter in letters])
        place.until(lambda: Confirmed(token=0) in owner.notices)

    return put


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `fedkseed dead`; gives its exit code, its lines, and its last line on standard error."""

    def call(*arguments):
        code, said = fedkseed(monkeypatch, "dead", *arguments), capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()[-1] if said.err else ""

    return call


def bodies(owner, queue) -> list[bytes]:
    return [letter.body for letter in owner.broker.look(queue)]


def test_dead_letters_are_listed_in_order_and_stay(bury, run, owner):
    scores = encode(evaluation(HEAD, 0, loss=1.0))
    bury(
        dead(b"rubbish", "update.ann", "not msgpack"),
        dead(BOB, "update.bob", "delivery_limit"),
        dead(scores, "evaluation.evaluator"),
        dead(ASKING, ""),
    )
    expected = [
        "1  update.ann  unreadable  7 bytes  not msgpack",
        f"2  update.bob  update of bob on version 0  {len(BOB)} bytes  delivery_limit",
        f"3  evaluation.evaluator  evaluation of evaluator  {len(scores)} bytes  because",
        f"4  of unknown origin  snapshot? of cleo  {len(ASKING)} bytes  because",
    ]
    assert run("list") == run("list") == (0, expected, "")
    assert bodies(owner, DEAD) == [b"rubbish", BOB, scores, ASKING]


def test_dead_letters_as_json_say_the_same_to_programs(bury, run):
    bury(dead(b"rubbish", "update.ann", "not msgpack"), dead(BOB, "update.bob"), dead(BOB, "update.ann"), dead(BOB, ""))
    code, lines, _ = run("list", "--json")
    rubbish, bob, disguised, lost = map(json.loads, lines)
    assert code == 0
    assert rubbish == {
        "number": 1,
        "origin": "update.ann",
        "type": None,
        "client": None,
        "base": None,
        "bytes": 7,
        "reason": "not msgpack",
        "doomed": True,
    }
    assert (bob["type"], bob["client"], bob["base"], bob["bytes"], bob["doomed"]) == ("update", "bob", 0, len(BOB), False)
    assert (disguised["number"], disguised["doomed"]) == (3, True)
    assert (lost["origin"], lost["doomed"]) == (None, True)


@pytest.mark.usefixtures("owner")
def test_where_nothing_is_dead_nothing_is_said(run):
    assert run("list") == run("requeue", "--all") == (0, [], "")


def test_letters_are_requeued_by_number_and_the_others_stay_in_order(bury, run, owner):
    bury(*(dead(body, "update.ann") for body in (b"1", ANN, b"3", ANN, b"5")))
    assert run("requeue", "4", "2", "4") == (0, ["2  requeued as update.ann", "4  requeued as update.ann"], "")
    assert bodies(owner, DEAD) == [b"1", b"3", b"5"]
    sent = owner.broker.look(updates_queue(NAME))
    assert [(letter.body, letter.key, letter.headers) for letter in sent] == [(ANN, "update.ann", {})] * 2


def test_all_letters_but_those_that_would_die_again_are_requeued(bury, run, owner):
    bury(
        dead(b"rubbish", "update.ann"), dead(ANN, "update.ann"), dead(BOB, "update.ann"), dead(ANN, ""), dead(BOB, "update.bob")
    )
    code, lines, said = run("requeue", "--all")
    assert (code, said) == (0, "")
    assert lines[0].startswith("1  stays, it would die again: not msgpack")
    assert lines[1:] == [
        "3  stays, it would die again: Update with routing key update.ann",
        "4  stays, it would die again: it is not known where it came from",
        "2  requeued as update.ann",
        "5  requeued as update.bob",
    ]
    assert bodies(owner, DEAD) == [b"rubbish", BOB, ANN]
    assert bodies(owner, updates_queue(NAME)) == [ANN, BOB]


def test_a_letter_that_would_die_again_is_requeued_when_it_is_named(bury, run, owner):
    bury(dead(b"rubbish", "update.ann"))
    assert run("requeue", "1") == (0, ["1  requeued as update.ann"], "")
    assert bodies(owner, DEAD) == []
    assert bodies(owner, updates_queue(NAME)) == [b"rubbish"]


def test_what_is_not_confirmed_stays(bury, run, owner):
    bury(dead(ANN, "gossip.ann"), dead(BOB, "update.bob"))
    code, lines, said = run("requeue", "1", "2")
    assert (code, lines) == (70, ["1  stays, it was not confirmed", "2  requeued as update.bob"])
    assert said == "fedkseed: 1 of 2 letters were not confirmed and stay among the dead"
    assert bodies(owner, DEAD) == [ANN]
    assert bodies(owner, updates_queue(NAME)) == [BOB]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (["1", "4"], "fedkseed: there is no letter 4: 3 can be requeued by number"),
        (["1", "2"], "fedkseed: letter 2 cannot be requeued: it is not known where it came from"),
        (["1", "3"], "fedkseed: letter 3 cannot be requeued: it is not known where it came from"),
    ],
)
def test_unless_all_named_letters_can_be_requeued_none_is(bury, run, owner, numbers, said):
    bury(dead(ANN, "update.ann"), dead(ANN, ""), dead(ANN, "update.\ufffd"))
    assert run("requeue", *numbers) == (70, [], said)
    assert bodies(owner, DEAD) == [ANN] * 3
    assert bodies(owner, updates_queue(NAME)) == []


def test_what_killed_its_readers_can_be_requeued(place, run, owner):
    owner.send(to_aggregator(NAME, "update", "ann"), ANN, token=1)
    for _ in range(DELIVERY_LIMIT + 1):
        reader = place.somebody(shared(NAME), updates_queue(NAME))
        place.until(lambda reader=reader: reader.bodies == [ANN])
        reader.broker.close()
    watcher = place.somebody(shared(NAME), DEAD)
    place.until(lambda: watcher.bodies == [ANN])
    watcher.broker.close()
    assert run("list") == (0, [f"1  update.ann  update of ann on version 0  {len(ANN)} bytes  delivery_limit"], "")
    assert run("requeue", "--all") == (0, ["1  requeued as update.ann"], "")
    reader = place.somebody(shared(NAME), updates_queue(NAME))
    place.until(lambda: reader.bodies == [ANN])
    assert (reader.deliveries[0].key, reader.deliveries[0].redelivered) == ("update.ann", False)


def test_a_terminal_obeys_nothing_that_a_sender_has_chosen(bury, run):
    bury(dead(b"rubbish", "update.\x1b[2J", "strange\nkey"))
    assert run("list") == (0, ["1  update.\ufffd[2J  unreadable  7 bytes  strange\ufffdkey"], "")


def test_nothing_is_requeued_from_a_queue_that_has_changed():
    broker = MemoryBroker()
    connection, other = broker.connect(), broker.connect()
    connection.start(shared(NAME), (), lambda _: None)
    connection.publish(0, [seal(dead(ANN, "update.ann")), seal(dead(BOB, "update.bob"))])
    letters = read(connection.look(DEAD))
    taken = []
    other.start(shared(NAME), (DEAD,), taken.append)
    other.acknowledge([taken[0].tag])
    other.close()
    again = broker.connect()
    with pytest.raises(BrokerError, match="list them again"):
        publish_again(again, NAME, letters, letters[:1])
    again.close()
    assert broker.waiting(DEAD) == (BOB,)
    assert broker.waiting(updates_queue(NAME)) == ()


@pytest.mark.parametrize("arguments", [["requeue"], ["requeue", "--all", "1"], ["requeue", "0"], ["requeue", "x"], ["lst"]])
@pytest.mark.usefixtures("owner")
def test_a_wrong_command_line_ends_with_2(run, arguments):
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize("verb", [["list"], ["requeue", "--all"], ["requeue", "1"]])
@pytest.mark.usefixtures("owner")
def test_what_cannot_be_looked_into_is_an_exit_code(run, rabbit, vhost, monkeypatch, verb):
    code, lines, said = run(*verb, "--federation", "nobody")
    assert (code, lines) == (73, [])
    assert f"no queue '{dead_queue('nobody')}'" in said
    assert run(*verb, "--amqp-url", rabbit.url(vhost, password="wrong"))[0] == 71
    assert run(*verb, "--amqp-url", "http://127.0.0.1")[2].startswith("fedkseed: FEDKSEED_AMQP_URL: ")
    monkeypatch.delenv("FEDKSEED_FEDERATION")
    assert run(*verb)[::2] == (10, "fedkseed: FEDKSEED_FEDERATION: field required")


@pytest.mark.parametrize("name", ["list", "requeue"])
def test_the_subcommands_explain_themselves(run, name):
    code, lines, _ = run(name, "--help")
    assert code == 0
    assert "--amqp-url" in "\n".join(lines)
    assert len(command.dead.commands[name].help.split()) > 15
