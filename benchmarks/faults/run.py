"""A run: faults one after the other while the load goes on, then quiet, then the verdict.

What is known is on disk at any time: `faults.jsonl` has a line for each fault, journals grow as they are written.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults import journal
from benchmarks.faults.checker import History, Verdict, history, judge, unanswered
from benchmarks.faults.cluster import Cluster
from benchmarks.faults.inject import Accepted, Fault
from benchmarks.faults.schedule import Planned
from benchmarks.faults.world import Setting, World, until
from fedkseed.errors import FedkseedError
from fedkseed.ledger.commit import Commit
from fedkseed.ledger.head import Head
from fedkseed.ledger.log import verify
from fedkseed.ledger.redis import RedisLedger

FIRST_SECONDS = 120.0  # for the first version
RECOVERY_SECONDS = 120.0  # for the next one after a fault
CALM_SECONDS = (0.3, 1.5)  # between two faults
QUIET_SECONDS = 240.0  # for what is under way when the load ends
SETTLING_SECONDS = 2.0  # for receipts, once no update waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A fault that was played."""

    number: int
    kind: str
    target: str
    at: float  # seconds since the first version
    lasted: float  # seconds until the harm was over
    recovered: float | None  # seconds from then until the next version; None: not in time
    paused: float  # the longest time without a version, from its beginning until it recovered, seconds
    failed: str = ""  # why it could not be played as it was meant, or what it found


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    setting: Setting
    minutes: float
    planned_minutes: float
    nodes: int
    played: Sequence[Played]
    verdict: Verdict
    verified: bool  # every digest of the log, here and by `fedkseed verify`
    exits: Mapping[str, int]  # services that ended by themselves, with what code
    accepted: Sequence[str]  # older ledgers that were not refused
    dead: int  # letters that were put aside
    heard: Mapping[str, int]  # what services said of their connections

    @property
    def faults(self) -> Sequence[Played]:
        """Those that were played as they were meant."""
        return [fault for fault in self.played if not fault.failed]

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        recovered = all(fault.recovered is not None for fault in self.played)
        return self.verdict.good and self.verified and not self.accepted and recovered

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        seconds = [fault.recovered for fault in self.played if fault.recovered is not None]
        return {
            "good": self.good,
            "minutes": self.minutes,
            "seed": self.setting.seed,
            "nodes": self.nodes,
            "setting": asdict(self.setting),
            **{name: value for name, value in asdict(self.verdict).items() if name != "named"},
            "verify": self.verified,
            "faults": len(self.faults),
            "kinds": len({fault.kind for fault in self.faults}),
            "not_played": len(self.played) - len(self.faults),
            "recovery_p50": percentile(seconds, 0.5),
            "recovery_p95": percentile(seconds, 0.95),
            "not_recovered": sum(fault.recovered is None for fault in self.played),
            "exits": dict(self.exits),
            "accepted": list(self.accepted),
            "dead": self.dead,
            "heard": dict(self.heard),
            "named": {kind: [list(identity) for identity in some] for kind, some in self.verdict.named.items()},
            "played": [asdict(fault) for fault in self.played],
        }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


@contextmanager
def clustered(folder: Path, nodes: int) -> Iterator[Cluster]:
    """A broker, for as long as it is needed."""
    cluster = Cluster(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


def run(
    folder: Path,
    setting: Setting,
    cluster: Cluster,
    planned: Iterator[Planned],
    faults: Mapping[str, Fault],
    *,
    seconds: float,
    quiet_seconds: float = QUIET_SECONDS,
    say: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Play faults for so many seconds, or until there is none left, and judge after so many more at the most.

    Raises:
        AssertionError: the federation does not begin.
    """
    with World(folder, setting, cluster) as world:
        assert world.commits.beyond(0, FIRST_SECONDS), "no first version"
        began = time.monotonic()
        played = list(_played(world, planned, faults, seconds, say))
        minutes = (time.monotonic() - began) / 60
        accepted = [f"{fault.kind}: {fault.failed}" for fault in played if fault.failed.startswith(Accepted.__name__)]
        history_, commits, head = settle(world, quiet_seconds, say)
        return Outcome(
            setting=setting,
            minutes=minutes,
            planned_minutes=seconds / 60,
            nodes=len(cluster.nodes),
            played=played,
            verdict=judge(history_, commits, head),
            verified=_verified(world, commits, head),
            exits=dict(world.exits),
            accepted=accepted,
            dead=world.dead,
            heard=dict(world.heard()),
        )


def _played(
    world: World, planned: Iterator[Planned], faults: Mapping[str, Fault], seconds: float, say: Callable[[str], object]
) -> Iterator[Played]:
    began = time.monotonic()
    with (world.folder / "faults.jsonl").open("a", encoding="utf-8") as lines:
        for plan in planned:
            if time.monotonic() - began > seconds:
                return
            fault = _play(world, plan, faults[plan.kind], began)
            lines.write(json.dumps(asdict(fault)) + "\n")
            lines.flush()
            say(f"{fault.number:4} {fault.kind:36} {fault.target:26} {fault.lasted:5.1f} s, {_told(fault)}")
            yield fault


def _told(fault: Played) -> str:
    recovered = "not recovered" if fault.recovered is None else f"recovered after {fault.recovered:.1f} s"
    return " ".join((f"{recovered}, paused {fault.paused:.1f} s", fault.failed)).strip()


def _play(world: World, plan: Planned, fault: Fault, began: float) -> Played:
    dice = Random(plan.seed)  # noqa: S311 - faults are no secret
    start, target, failed = time.monotonic(), "", ""
    world.ended_at = None
    try:
        target = fault(world, dice)
    except (OSError, FedkseedError, AssertionError, subprocess.SubprocessError) as error:
        failed = f"{type(error).__name__}: {error}".splitlines()[0].replace(f"{world.folder}/", "")
    world.over()
    assert world.ended_at is not None
    over, before = world.ended_at, sum(at <= world.ended_at for at in world.commits.times)
    recovered = _recovered(world, before)
    now = time.monotonic()
    for service in world.services:
        service.expected = set()
    time.sleep(dice.uniform(*CALM_SECONDS))
    return Played(
        number=plan.number,
        kind=plan.kind,
        target=target,
        at=start - began,
        lasted=over - start,
        recovered=world.commits.times[before] - over if recovered else None,
        paused=world.commits.longest_pause(start, world.commits.times[before] if recovered else now),
        failed=failed,
    )


def _recovered(world: World, before: int) -> bool:
    """Whether there is a version after the first so many, in time; meanwhile everybody is kept running."""

    def looks() -> Iterator[bool]:
        while True:
            with suppress(OSError, FedkseedError):
                world.heal()
                world.mend()
            yield len(world.commits.times) > before

    return until(looks(), RECOVERY_SECONDS)


def settle(
    world: World, seconds: float = QUIET_SECONDS, say: Callable[[str], object] = lambda _: None
) -> tuple[History, list[Commit], Head]:
    """End the load, wait until all that was acknowledged has an outcome, and read everything."""
    world.quiet()
    end = time.monotonic() + seconds
    left = -1
    while left and time.monotonic() < end:
        with suppress(OSError, FedkseedError):
            world.heal()
            world.mend()
            until((world.waiting == 0 for _ in iter(int, 1)), seconds / 4)
            time.sleep(SETTLING_SECONDS)
            kept, commits, head = observe(world)
            left = unanswered(kept, head, commits)
            say(f"quiet: {left} acknowledged updates without an outcome, version {head.version}")
    for service in world.services:
        service.expected = {0}
    for service in (*world.loads, *world.aggregators):
        service.program.stop()
    return observe(world)


def observe(world: World) -> tuple[History, list[Commit], Head]:
    """What was written down outside, and the ledger."""
    records = chain.from_iterable(journal.read(world.records(service)) for service in world.loads)
    kept = history(records)
    ledger = RedisLedger.open(world.redis.url, world.setting.name)
    try:
        return kept, list(ledger.commits()), ledger.head()
    finally:
        ledger.close()


def _verified(world: World, commits: Sequence[Commit], head: Head) -> bool:
    """Whether all digests hold, in this process and as an operator asks."""
    try:
        here = verify(commits, head.genesis_bytes, head.size) == head.version
    except FedkseedError:
        return False
    words = ["verify", "--federation", world.setting.name, "--redis-url", world.redis.url]
    asked = subprocess.run([sys.executable, "-m", "fedkseed_cli", *words], capture_output=True, check=False)  # noqa: S603
    (world.folder / "verify.log").write_bytes(asked.stdout + asked.stderr)
    return here and asked.returncode == 0
