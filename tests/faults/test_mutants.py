"""The fault report finds programs that lose updates or count them twice: a checker that nothing fails proves nothing."""

import os
from functools import partial

import pytest

from benchmarks.faults.inject import crash
from benchmarks.faults.run import judge, run, settle
from benchmarks.faults.schedule import Planned
from benchmarks.faults.world import Setting, World
from tests.processes import until

SMALL = Setting(aggregators=1, loads=1, clients=400, rate=100.0, cohort=50, minimum=10, deadline_seconds=4.0)
ENDLESS = 1_000_000
QUIET_SECONDS = 20.0  # what is lost does not come, however long anybody waits


def small(name: str, **changes) -> Setting:
    return Setting(**{field: getattr(SMALL, field) for field in Setting.__slots__} | {"name": name} | changes)


def crashes(broker, folder, setting: Setting, point: str, times: int):
    planned = [Planned(number=i, kind="crash", seed=i) for i in range(times)]
    return run(
        folder / "world",
        setting,
        broker,
        iter(planned),
        {"crash": partial(crash, point)},
        seconds=600,
        quiet_seconds=QUIET_SECONDS,
    )


def test_acknowledging_before_the_transaction_loses_updates(broker, tmp_path):
    outcome = crashes(broker, tmp_path, small("hasty", mutant="acknowledge-first"), "half-a-close", 4)
    assert outcome.verdict.lost > 0
    assert (outcome.verdict.duplicated, outcome.verdict.unexpected) == (0, 0)
    assert not outcome.good


def test_forgetting_the_inbox_with_the_round_counts_updates_twice(broker, tmp_path):
    """What closed the round was not acknowledged, so that it comes again."""
    outcome = crashes(broker, tmp_path, small("forgetful", mutant="forget-inbox"), "unanswered-close", 2)
    assert outcome.verdict.duplicated > 0
    assert outcome.verdict.lost == 0
    assert not outcome.good


@pytest.mark.parametrize(("fsync", "loses"), [("no", True), ("always", False)])
def test_a_power_cut_loses_what_redis_answered_before_it_was_on_disk(broker, tmp_path, fsync, loses):
    """All within one round, of which no announcement could tell that anything is missing."""
    setting = small(f"power-{fsync}", fsync=fsync, cohort=ENDLESS, deadline_seconds=3600.0, clients=5000)
    with World(tmp_path / "world", setting, broker) as world:
        until(lambda: members(world) > 50)
        (file,) = (world.redis.folder / "appendonlydir").glob("*.incr.aof")
        synced, before = file.stat().st_size, members(world)  # as if the kernel had written so much by itself
        until(lambda: members(world) > before + 100)
        for service in world.aggregators:
            service.program.kill()
        world.redis.kill()
        if fsync != "always":
            os.truncate(file, synced)
        world.redis.start()
        verdict = judge(*settle(world, QUIET_SECONDS))
    assert (verdict.lost > 0) == loses
    assert (verdict.duplicated, verdict.unexpected) == (0, 0)


def members(world: World) -> int:
    """Updates in the open round."""
    return int(world.redis.say(f"HGET {{{world.setting.name}}}:head members").split(b"\r\n")[1])
