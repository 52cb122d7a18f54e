"""The subcommands that operate a federation, against a real Redis: what they do, what they say, how they fail."""

import json
import signal
import subprocess
import sys
from functools import partial

import click
import numpy as np
import pytest

from fedkseed.codec import decode
from fedkseed.federation import load
from fedkseed.genesis import genesis_digest
from fedkseed.ledger import artifact
from fedkseed.ledger.fold import announced, close, score
from fedkseed.ledger.log import replay
from fedkseed.ledger.redis import RedisLedger
from fedkseed.packing import pack_integers
from fedkseed.reactor import Reactor
from fedkseed.transport.memory import MemoryBroker
from fedkseed.transport.topology import personal, receipts_queue, shared
from fedkseed_aggregator.events import Started, Ticked
from fedkseed_aggregator.machine import State, step
from fedkseed_aggregator.shell import Shell, events
from fedkseed_cli import policy as command
from tests.embedded import described, fedkseed, refusal, write_toml
from tests.ledgers import NAME, K, evaluation, genesis, policy, update
from tests.processes import interruptible
from tests.stores import fill, folding, founded, key

OPERATING = [
    "close",
    "log",
    "pause",
    "policy show",
    "quarantine list",
    "resume",
    "rollback --to 0",
    "snapshot --out x",
    "status",
    "verify",
]


@pytest.fixture
def store(server, monkeypatch):
    """A federation at version 3, two updates a round, and an environment that names it."""
    monkeypatch.setenv("FEDKSEED_FEDERATION", NAME)
    monkeypatch.setenv("FEDKSEED_REDIS_URL", server.url)
    store = founded(server.url)
    fill(store, 3)
    return store


@pytest.fixture
def said(monkeypatch, capsys):
    """Run the command where it must succeed; gives its lines."""

    def call(*arguments):
        capsys.readouterr()
        code, printed = fedkseed(monkeypatch, *arguments), capsys.readouterr()
        assert (code, printed.err) == (0, "")
        return printed.out.splitlines()

    return call


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Run the command where it must fail in one line; gives its exit code and line."""
    return partial(refusal, monkeypatch, capsys, tmp_path)


@pytest.fixture
def aggregator(server):
    """Start an aggregator on the ledger in Redis, beside a broker in memory; gives its reactor."""

    def start(broker) -> Reactor:
        connection = broker.connect()
        shell = Shell(store=RedisLedger.open(server.url, NAME), broker=connection, wake=lambda *_: None)
        reactor = Reactor(State(federation=NAME), step, shell.carry_out)
        connection.start(shared(NAME), (), lambda notice: reactor.feed(*events([notice])))
        return reactor

    return start


def scored(store, **scores):
    """Score versions: v1=0.5 is an accuracy of version 1."""
    for version, accuracy in scores.items():
        told = evaluation(store.head(), int(version[1:]), accuracy=accuracy, loss=1 - accuracy)
        store.transact(lambda head, now, told=told: score(head, told, now))


def test_status_says_where_the_federation_stands(store, said):
    store.transact(folding(update(store.head(), "cleo")))
    scored(store, v3=0.75)
    lines = "\n".join(said("status"))
    assert f"{NAME}: open, version 3, attempt 0" in lines
    assert "1 of 2 updates, at least 1 when time is up" in lines
    assert "deadline      in 0:59:" in lines or "deadline      in 1:00:00" in lines
    assert "announced     not yet" in lines
    assert lines.count("commit  ") == 3
    assert "ann, bob" in lines
    assert "version 3  accuracy 0.7500, loss 0.2500" in lines
    assert "cleo  folded on version 3" in lines
    assert "ago, loss 0.5000, 1.0 s, 0 bytes" in lines
    assert "ann, bob  training loss 0.5000, 0 bytes" in lines


def test_status_as_json_says_the_same_to_programs(store, said):
    store.transact(folding(update(store.head(), "cleo"), update(store.head(), "dora", base=9)))
    store.transact(lambda head, _: announced(head, 3, 0))
    scored(store, v3=0.75)
    told = json.loads("\n".join(said("status", "--json")))
    head = store.head()
    assert (told["federation"], told["state"], told["version"], told["attempt"]) == (NAME, "open", 3, 0)
    assert (told["state_digest"], told["genesis_digest"]) == (head.digest.hex(), genesis_digest(genesis()).hex())
    assert (told["pending"], told["cohort"], told["announced"]) == (["cleo"], 2, True)
    assert 0 < told["deadline_in_seconds"] <= 3600
    assert [commit["version"] for commit in told["commits"]] == [1, 2, 3]
    assert told["evaluations"] == {"3": {"accuracy": 0.75, "loss": 0.25}}
    outcomes = {client: seen["outcome"] for client, seen in told["clients"].items()}
    assert outcomes == {"ann": "folded", "bob": "folded", "cleo": "folded", "dora": "ahead"}
    assert told["clients"]["dora"]["report"] == {"loss": 0.5, "seconds": 1.0, "bytes": 0}
    assert told["reports"]["3"] == {"updates": 1, "bytes": 0, "loss": 0.5}


def test_status_shows_the_newest_versions_only(store, said):
    fill(store, 4)
    assert [line.split()[2] for line in said("status") if line.startswith("commit")] == ["3", "4", "5", "6", "7"]


def test_status_says_when_nobody_keeps_the_deadline(store, said):
    store.transact(lambda head, now: close(head, 3, 0, now - 9999))  # nothing is pending: the next attempt, opened long ago
    assert any("ago; an aggregator that runs closes the round" in line for line in said("status"))


@pytest.mark.usefixtures("store")
def test_a_watched_status_is_shown_again_until_interrupted():
    shown = [sys.executable, "-m", "fedkseed_cli", "status", "--watch"]
    with interruptible():
        watching = subprocess.Popen(shown, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with watching:
        heads = (line for line in watching.stdout if line.startswith("federation"))
        assert next(heads) == next(heads) == f"federation    {NAME}: open, version 3, attempt 0\n"
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 130
        assert "Traceback" not in watching.stderr.read()


def test_the_log_has_one_line_for_each_version(store, said):
    scored(store, v2=0.5)
    first, second, third = said("log")
    assert first.startswith("version 1  round  ")
    assert first.endswith("lr 0.5  ann, bob")
    assert second.endswith("ann, bob  accuracy 0.5000, loss 0.5000")
    assert third.startswith("version 3")


def test_the_log_as_json_has_all_but_the_differences(store, said):
    scored(store, v2=0.5)
    told = [json.loads(line) for line in said("log", "--json")]
    for entry, commit in zip(told, store.commits(), strict=True):
        assert (entry["version"], entry["kind"], entry["lr"], entry["weight"]) == (commit.version, "round", 0.5, 512)
        assert (entry["state_digest"], entry["policy_digest"]) == (commit.state.hex(), commit.policy_digest)
        assert [member["client"] for member in entry["members"]] == ["ann", "bob"]
        assert entry["closed_at"] == commit.closed_at
    assert [entry["scores"] for entry in told] == [{}, {"accuracy": 0.5, "loss": 0.5}, {}]


def test_the_log_names_some_members_and_how_late_they_were(server, said):
    store = founded(server.url, cohort=10, max_staleness=2)
    for _ in range(2):
        head = store.head()
        store.transact(folding(*(update(head, f"c{head.version}{i}", base=0) for i in range(10))))
    lines = said("log", "--federation", NAME, "--redis-url", server.url)
    assert lines[0].endswith("c06, c07 and 2 more")
    assert lines[1].endswith("c16 (staleness 1), c17 (staleness 1) and 2 more")


def test_a_pause_keeps_rounds_from_closing_until_resumed(store, said):
    assert said("pause") == [f"{NAME}: paused, version 3, attempt 0"]
    assert said("pause") == [f"{NAME}: paused, version 3, attempt 0"]
    fill(store, 1)
    assert (store.head().version, len(store.head().pending.members)) == (3, 2)
    assert not any(line.startswith("deadline") for line in said("status"))
    assert said("resume") == [f"{NAME}: open, version 4, attempt 0"]


def test_a_round_that_was_not_complete_is_announced_again_after_a_pause(store, said):
    said("pause")
    assert said("resume") == [f"{NAME}: open, version 3, attempt 1"]
    assert store.head().round.attempt == 1


def test_closing_ends_training_and_voids_what_was_pending(store, said, refused):
    store.transact(folding(update(store.head(), "cleo")))
    assert said("close") == [
        f"{NAME}: closed, version 3, attempt 1",
        "update of cleo on version 3: voided, training ended before the round closed",
    ]
    assert store.head().round.last
    assert said("close") == [f"{NAME}: closed, version 3, attempt 1"]
    assert not any(line.startswith(("deadline", "open round")) for line in said("status"))
    for verb in (["pause"], ["resume"], ["policy", "set", "training.lr=1"]):
        over = f"fedkseed: federation {NAME}: training is over, version 3 is the last\n"
        assert refused(*verb) == (60, over)


def test_a_rollback_makes_a_next_version_that_equals_the_earlier_one(store, said):
    store.transact(folding(update(store.head(), "cleo")))
    assert said("rollback", "--to", "1") == [
        f"{NAME}: open, version 4, attempt 0",
        "update of cleo on version 3: voided, rolled back to version 1",
    ]
    log = tuple(store.commits())
    assert store.head().coefficients.tolist() == replay(log[:1], K).tolist()
    assert (store.head().floor, log[-1].kind) == (4, "rollback")
    assert "version 4  rollback" in said("log")[-1]


def test_a_rollback_to_the_base_itself_is_possible(store, said):
    said("rollback", "--to", "0")
    assert not store.head().coefficients.any()


@pytest.mark.parametrize("verb", ["rollback --to 1", "close", "policy set rounds.total=3"])
def test_the_next_aggregator_tells_the_members_of_a_voided_round(store, said, aggregator, verb):
    broker, heard = MemoryBroker(), []
    aggregator(broker).feed(Started())
    broker.connect().start(shared(NAME) | personal(NAME, "cleo"), (receipts_queue(NAME, "cleo"),), heard.append)
    store.transact(folding(update(store.head(), "cleo")))
    said(*verb.split())
    another = aggregator(broker)
    another.feed(Started())
    (receipt,) = [decode(delivery.body) for delivery in heard]
    assert receipt == store.head().inbox[3]["cleo"]
    assert receipt.outcome == "voided"
    another.feed(Ticked())
    assert len(heard) == 1


def test_the_policy_is_shown_as_it_is_set(store, said):
    lines = said("policy", "show")
    assert {"training.lr=0.5", "training.importance=false", "rounds.cohort=2", "rounds.total=", "rounds.target="} <= {*lines}
    assert said("policy", "set", *(line for line in lines if not line.endswith("="))) == []
    assert store.head().policy == policy()


def test_a_policy_is_changed_by_setting_names(store, said):
    changed = ["training.lr=0.0001", "training.importance=true", "rounds.cohort=3", "rounds.staleness_law=hinge"]
    assert said("policy", "set", "training.lr=1e-4", *changed[1:]) == changed
    now = store.head().policy
    assert (now.training.lr, now.training.importance, now.rounds.cohort, now.rounds.staleness_law) == (1e-4, True, 3, "hinge")
    assert now.training.steps == 200


def test_nothing_after_the_sign_puts_the_default_back(store, said):
    said("policy", "set", "rounds.total=9", "rounds.target.metric=accuracy", "rounds.target.at_least=0.9")
    assert store.head().policy.rounds.target.reached(0.95)
    said("policy", "set", "rounds.target.at_least=", "rounds.target.at_most=0.1")
    assert store.head().policy.rounds.target.reached(0.05)
    assert said("policy", "set", 'rounds.evaluators=["eve", "eva"]') == ['rounds.evaluators=["eve", "eva"]']
    assert store.head().policy.rounds.evaluators == ("eve", "eva")
    said("policy", "set", "rounds.evaluators=")
    assert store.head().policy.rounds.evaluators == ("evaluator",)
    assert said("policy", "set", "rounds.total=", "rounds.target=") == ["rounds.total=", "rounds.target="]
    assert store.head().policy == policy()


def test_a_policy_that_is_reached_already_acts_at_once(store, said):
    store.transact(folding(update(store.head(), "cleo")))
    said("policy", "set", "rounds.cohort=1")
    assert store.head().version == 4
    said("policy", "set", "rounds.total=4")
    assert store.head().state == "closed"


@pytest.mark.parametrize(
    ("assignments", "said_"),
    [
        (["training.eps=-1"], "training.eps: input should be greater than 0, not '-1'"),
        (["training.esp=1"], "training.esp: unknown setting; did you mean eps?"),
        (["training.esp="], "training.esp: unknown setting; did you mean eps?"),
        (["training.lr=fast"], "training.lr: input should be a valid number"),
        (["training.lr=1e-5", "rounds.minimum=9"], "rounds: minimum (9) must not exceed cohort (2)"),
        (["rounds.target.metric=loss"], "rounds.target: a target needs exactly one of at_most and at_least"),
        (["rounds.cohort.size=3"], "rounds.cohort: "),
        (["pool.size=256"], "pool: unknown setting"),
    ],
)
def test_a_wrong_policy_is_named_and_changes_nothing(store, refused, assignments, said_):
    code, line = refused("policy", "set", *assignments)
    assert code == 10
    assert said_ in line
    assert store.head().policy == policy()


def test_every_version_in_redis_is_verified(store, said):
    log, digest, base = said("verify")
    assert log == "log             every digest is right, from version 1 to 3"
    assert digest == f"state digest    {store.head().digest.hex()}  (version 3)"
    assert base == "base digest     " + "0" * 64


@pytest.mark.parametrize(
    ("delta", "said_"),
    [(pack_integers(np.ones(K, np.int64)), "log: version 2 has another state digest"), (b"", "log: version 2: ")],
)
@pytest.mark.usefixtures("store")
def test_a_difference_in_the_log_that_was_changed_is_named(raw, refused, delta, said_):
    log = raw.xrange(key("log"))
    raw.delete(key("log"))
    for name, fields in log:
        raw.xadd(key("log"), fields | {b"delta": delta} if name == b"2-0" else fields, id=name)
    for verb in (["verify"], ["snapshot", "--out", "x"], ["rollback", "--to", "2"]):
        code, line = refused(*verb)
        assert code == 66
        assert said_ in line


@pytest.mark.parametrize(("arguments", "version"), [((), 3), (("--version", "1"), 1), (("--version", "0"), 0)])
def test_a_snapshot_is_a_version_as_a_file(store, said, tmp_path, arguments, version):
    path = tmp_path / "ledger.safetensors"
    (line,) = said("snapshot", "--out", path, *arguments)
    read = artifact.read(path)
    assert line == f"{path}: version {version}, state digest {read.state.hex()}"
    assert (read.version, read.genesis_bytes) == (version, genesis())
    assert read.coefficients.tolist() == replay(tuple(store.commits())[:version], K).tolist()
    assert said("show", path)[1] == f"version         {version}"


@pytest.mark.parametrize(("metric", "version"), [("accuracy", 1), ("loss", 1)])
def test_the_best_version_is_the_one_with_the_best_score(store, said, tmp_path, metric, version):
    scored(store, v0=0.25, v3=0.5, v1=0.75, v2=0.75)
    said("snapshot", "--out", tmp_path / "best.safetensors", "--best", metric)
    assert artifact.read(tmp_path / "best.safetensors").version == version


def test_what_was_never_made_or_scored_cannot_be_written_or_gone_back_to(store, refused, tmp_path):
    beyond = (62, "fedkseed: version 4 is not in a ledger at version 3\n")
    assert refused("snapshot", "--out", tmp_path / "x", "--version", "4") == beyond
    assert refused("rollback", "--to", "4") == beyond
    unscored = refused("snapshot", "--out", tmp_path / "x", "--best", "accuracy")
    assert unscored == (62, "fedkseed: no version has a score named accuracy\n")
    assert store.head().version == 3


def test_a_federation_is_founded_from_its_file(server, tiny_base, tmp_path, said, monkeypatch):
    monkeypatch.setenv("FEDKSEED_REDIS_URL", server.url)
    path = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path))
    name, digest = said("init", path)
    with_policy = RedisLedger.open(server.url, "toy").head()
    assert name == "federation      toy"
    assert digest == f"genesis digest  {genesis_digest(with_policy.genesis_bytes).hex()}"
    assert (with_policy.version, with_policy.policy) == (0, load(path).policy)
    (*again, joined) = said("init", path)
    assert again == [name, digest]
    assert joined == f"founded before with this genesis; it is at version 0, and its policy is that of {path}"
    said("policy", "set", "rounds.total=9", "--federation", "toy")
    assert "its policy stands, it is not that of" in said("init", path)[-1]
    assert said("verify", "--federation", "toy", "--base", tiny_base)[3].startswith("weights digest  ")


def test_another_federation_of_that_name_is_refused(server, tiny_base, tmp_path, said, refused):
    path = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path))
    said("init", path, "--redis-url", server.url)
    write_toml(path, described(tiny_base, tmp_path, pool={"seed": 4}))
    code, line = refused("init", path, "--redis-url", server.url)
    assert code == 61
    assert "federation toy was founded with genesis" in line


@pytest.mark.parametrize("verb", [*OPERATING, "policy set training.lr=1"])
def test_without_a_federation_nothing_is_asked(refused, monkeypatch, verb):
    monkeypatch.delenv("FEDKSEED_FEDERATION", raising=False)
    assert refused(*verb.split()) == (10, "fedkseed: FEDKSEED_FEDERATION: field required\n")


@pytest.mark.parametrize("verb", [*OPERATING, "policy set training.lr=1"])
def test_a_federation_that_was_not_founded_is_missing(server, refused, verb):
    code, line = refused(*verb.split(), "--federation", "nobody", "--redis-url", server.url)
    assert code == 68
    assert "no federation nobody was founded" in line


def test_a_redis_that_does_not_answer_is_an_exit_code(server, refused, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDKSEED_FEDERATION", NAME)
    monkeypatch.setenv("FEDKSEED_REDIS_URL", server.url)
    path = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path))
    server.kill()
    try:
        for verb in ("status", f"init {path}", "close"):
            code, line = refused(*verb.split())
            assert code == 63
            assert str(server.port) in line
    finally:
        server.start()


@pytest.mark.usefixtures("store")
def test_options_come_before_the_environment(said, refused, monkeypatch):
    monkeypatch.setenv("FEDKSEED_FEDERATION", "another")
    assert NAME in said("status", "--federation", NAME)[0]
    code, line = refused("status", "--redis-url", "http://127.0.0.1")
    assert (code, line.startswith("fedkseed: FEDKSEED_REDIS_URL: ")) == (10, True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["snapshot"], "--out"),
        (["snapshot", "--out", "x", "--version", "1", "--best", "loss"], "--best"),
        (["snapshot", "--out", "x", "--version", "-1"], "--version"),
        (["rollback"], "--to"),
        (["policy", "set"], "KEY=VALUE"),
        (["policy", "set", "training.lr"], "KEY=VALUE"),
        (["verify", "x"], "--base"),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_wrong_command_line_ends_with_2(monkeypatch, capsys, arguments, named):
    assert fedkseed(monkeypatch, *arguments) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("name", ["show", "set"])
def test_the_policys_subcommands_explain_themselves(said, name):
    assert "--federation" in "\n".join(said("policy", name, "--help"))
    assert all(option.help for option in command.policy.commands[name].params if isinstance(option, click.Option))


def test_a_quarantine_is_listed_and_lifted(store, said, refused):
    said("policy", "set", "robust.quarantine=3", "rounds.cohort=3")
    for _ in range(3):
        head = store.head()
        signs = (("ann", 1), ("bob", 1), ("eve", -1))
        updates = [update(head, name, k=range(4), g=[sign * 1.5] * 4) for name, sign in signs]
        store.transact(folding(*updates))
    version = store.head().version
    assert said("quarantine", "list") == [f"eve  quarantined since version {version}"]
    assert json.loads("".join(said("quarantine", "list", "--json"))) == {"quarantined": {"eve": version}, "suspected": {}}
    assert json.loads(said("log", "--json")[-1])["quarantined"] == ["eve"]
    assert said("quarantine", "lift", "eve") == ["eve: not quarantined any more"]
    assert said("quarantine", "list") == []
    assert refused("quarantine", "lift", "eve") == (60, "fedkseed: client eve is not quarantined\n")
