"""What the doctor makes of what it saw."""

from dataclasses import replace

import pytest

from fedkseed.errors import BaseMismatch, BrokerDenied, BrokerError, EmptyData, TopologyMismatch
from fedkseed.ledger.fold import announced
from fedkseed.transport.visit import Sight
from fedkseed_cli import findings
from tests.ledgers import at_version, ledger

GOOD = Sight(version="3.10.8", heartbeat_seconds=10, missing=(), different=(), denied=(), blocked=False)
INFO = {
    "redis_version": "7.0.15",
    "aof_enabled": "1",
    "maxmemory_policy": "noeviction",
    "used_memory": str(1 << 20),
    "maxmemory": "0",
    "total_system_memory": str(1 << 30),
}


def marks(found):
    return [finding.mark for finding in found]


@pytest.mark.parametrize(
    ("version", "enough"), [("3.9.29", False), ("3.10.0", True), ("4.1.2", True), ("", False), ("x.1", False)]
)
def test_versions_are_compared_as_numbers(version, enough):
    assert findings.at_least(version, (3, 10)) == enough
    assert marks(findings.broker("mq", replace(GOOD, version=version), tls=True, local=False)) == ["ok" if enough else "wrong"]


def test_a_broker_elsewhere_without_tls_or_heartbeat_is_a_warning():
    assert marks(findings.broker("mq", GOOD, tls=False, local=True)) == ["ok"]
    assert marks(findings.broker("mq", GOOD, tls=False, local=False)) == ["warning"]
    assert marks(findings.broker("mq", replace(GOOD, heartbeat_seconds=0), tls=True, local=False)) == ["warning"]


def test_permissions_are_good_only_where_all_could_be_looked_at():
    assert marks(findings.queues(GOOD, "client ann")) == ["ok", "ok"]
    assert marks(findings.queues(replace(GOOD, missing=("queue q",)), "client ann")) == ["not known"]
    assert marks(findings.queues(replace(GOOD, blocked=True), "client ann")) == ["ok"]
    assert marks(findings.queues(replace(GOOD, different=("q",), denied=("d",)), "client ann")) == ["wrong", "wrong"]


@pytest.mark.parametrize(
    ("kept", "missing", "mark"),
    [
        (True, (), "ok"),
        (True, ("queue archive",), "wrong"),
        (True, ("queue archive", "queue updates"), "not known"),
        (False, (), "warning"),
        (False, ("queue archive",), "ok"),
    ],
)
def test_an_archive_is_there_where_it_is_to_be_kept_and_nowhere_else(kept, missing, mark):
    assert findings.archive(replace(GOOD, missing=missing), "archive", kept=kept).mark == mark


def test_only_what_is_refused_at_the_archive_is_about_the_archive():
    told = [replace(GOOD, denied=(f"consume from {queue}",)) for queue in ("archive", "updates")]
    assert marks(findings.archive(sight, "archive", kept=True) for sight in told) == ["wrong", "ok"]


def test_a_redis_that_is_old_or_nearly_full_is_found():
    assert set(marks(findings.store("here", INFO, "always"))) == {"ok"}
    assert marks(findings.store("here", INFO | {"redis_version": "6.2.1"}, "always"))[0] == "wrong"
    full = INFO | {"maxmemory": str(1 << 20)}
    assert [finding.what for finding in findings.store("here", full, "always") if finding.mark == "warning"] == ["redis memory"]


def test_a_ledger_is_compared_with_what_the_broker_remembers():
    new, announced_ = ledger(), announced(ledger(), 0, 0)[0]
    assert marks([findings.witness(new, None), findings.witness(new, new.round), findings.witness(announced_, None)]) == [
        "ok",
        "ok",
        "warning",
    ]
    behind = findings.witness(new, at_version(new, 1)[0].round)
    assert behind.mark == "wrong"
    assert "version 1, attempt 0" in behind.found
    assert "start no aggregator" in behind.advice


def test_what_a_hosted_redis_hides_is_not_known():
    assert set(marks(findings.store("here", {}, None))) == {"not known"}
    assert marks(findings.store("here", {"redis_version": "7.2.4"}, "always")) == [
        "ok",
        "not known",
        "ok",
        "not known",
        "not known",
    ]


@pytest.mark.parametrize(("seconds", "mark"), [(0.2, "ok"), (-4.9, "ok"), (6.0, "warning"), (-60.0, "warning")])
def test_a_clock_that_is_off_is_a_warning(seconds, mark):
    assert findings.clock(seconds).mark == mark
    assert ("ahead of" if seconds > 0 else "behind") in findings.clock(seconds).found


@pytest.mark.parametrize("error", [BaseMismatch, BrokerDenied, BrokerError, EmptyData, TopologyMismatch])
def test_every_failure_comes_with_advice(error):
    finding = findings.failure("something", error("what happened"))
    assert (finding.mark, finding.found) == ("wrong", "what happened")
    assert str(finding).endswith(f"what happened; to do: {finding.advice}")


def test_what_is_missing_of_the_packages_is_named():
    told = findings.program("3.11.7", {"pika": "1.4", "torch": None, "numba": None}).found
    assert told == "Python 3.11.7, pika 1.4; without torch, numba, which pip install 'fedkseed[train]' adds for who trains"
