"""The faults: each one does harm for a while and takes it back. `World.over` says when the harm is over."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.faults.aggregator import POINTS
from benchmarks.faults.world import Service, World, until
from benchmarks.wires import Weather
from fedkseed.errors import LedgerBehind
from fedkseed.transport.topology import updates_queue
from fedkseed_local.program import Program

Fault = Callable[[World, Random], str]  # plays it, and says whom it hit
POINT_SECONDS = 20.0  # for somebody to come to an armed point
REFUSAL_SECONDS = 60.0  # for an aggregator to see that the ledger is behind
BEHIND = 3  # versions that a ledger loses
FEW = 50  # updates that fill a queue

SLOW = Weather(delay_seconds=0.05, jitter_seconds=0.1)
LOSSY = Weather(lost=0.2)


class Accepted(AssertionError):
    """An aggregator serves a ledger that is behind what was announced."""


def end(program: Program, how: str) -> None:
    """End a process with a signal or, as its operator does, with a request."""
    program.kill() if how == "kill" else program.stop()


def process(of: Callable[[World], list[Service]], how: str, world: World, dice: Random) -> str:
    """A service ends, and is started again."""
    service = dice.choice(of(world))
    service.expected = {0}
    end(service.program, how)
    time.sleep(dice.uniform(0.2, 2.0))
    world.over()
    service.program.start()
    return service.name


def stopped(of: Callable[[World], list[Service]], world: World, dice: Random) -> str:
    """A service stands still: its sockets stay open."""
    service = dice.choice(of(world))
    with still(service.program):
        time.sleep(dice.choice((dice.uniform(1.0, 5.0), dice.uniform(1.0, 5.0), 15.0)))
        world.over()
    return service.name


@contextmanager
def still(program: Program) -> Iterator[None]:
    """A process that is stopped, and goes on."""
    os.kill(program.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(program.pid, signal.SIGCONT)


def aggregators(world: World, dice: Random) -> str:
    """All aggregators are killed at once."""
    for service in world.aggregators:
        service.program.kill()
    time.sleep(dice.uniform(0.2, 3.0))
    world.over()
    for service in world.aggregators:
        service.program.start()
    return "all aggregators"


def crash(point: str, world: World, dice: Random) -> str:  # noqa: ARG001 - who comes first is not drawn
    """The aggregator that comes first to a point of its program dies there."""
    for service in world.aggregators:
        service.armed.write_text(point, encoding="utf-8")
    came = until((bool(_ended(world.aggregators)) for _ in iter(int, 1)), POINT_SECONDS)
    for service in world.aggregators:
        service.armed.unlink(missing_ok=True)
    if not came:
        raise TimeoutError(f"nobody came to {point}")
    world.over()
    dead = _ended(world.aggregators)
    for service in dead:
        service.program.start()
    return " and ".join(service.name for service in dead)


def _ended(services: list[Service]) -> list[Service]:
    return [service for service in services if service.program.code is not None]


def redis_ended(how: str, world: World, dice: Random) -> str:
    """Redis ends, and is started again on its files."""
    end(world.redis, how)
    time.sleep(dice.uniform(0.2, 3.0))
    world.over()
    world.redis.start()
    return "redis"


def redis_stopped(world: World, dice: Random) -> str:
    """Redis stands still, sometimes for longer than anybody waits for an answer."""
    with still(world.redis):
        time.sleep(dice.choice((dice.uniform(1.0, 4.0), 12.0)))
        world.over()
    return "redis"


def redis_full(world: World, dice: Random) -> str:
    """Redis is out of memory, and takes no writes."""
    world.redis.say("CONFIG SET maxmemory 1")
    time.sleep(dice.uniform(1.0, 3.0))
    world.over()
    world.redis.say("CONFIG SET maxmemory 0")
    return "redis"


def clock(sign: int, world: World, dice: Random) -> str:
    """The clock by which rounds close jumps, and jumps back."""
    seconds = sign * dice.choice((3, 60, 3600))
    world.redis.skew = seconds
    time.sleep(dice.uniform(2.0, 4.0))
    world.over()
    world.redis.skew = 0
    return f"redis {seconds:+d} s"


def node(whose: str, how: str, world: World, dice: Random) -> str:
    """A node of the broker ends and is started again: the leader of the updates, or one that is not."""
    leader = world.cluster.leader(updates_queue(world.setting.name))
    others = [each for each in world.cluster.nodes if each is not leader] or [leader]
    hit = leader if whose == "leader" else dice.choice(others)
    end(hit, how)
    time.sleep(dice.uniform(0.5, 3.0))
    world.over()
    hit.start()
    return hit.name


def node_stopped(world: World, dice: Random) -> str:
    """A node of the broker stands still."""
    hit = dice.choice(world.cluster.nodes)
    with still(hit):
        time.sleep(dice.uniform(2.0, 6.0))
        world.over()
    return hit.name


def nodes(world: World, dice: Random) -> str:
    """The whole broker is killed."""
    for each in world.cluster.nodes:
        each.kill()
    time.sleep(dice.uniform(0.2, 2.0))
    world.over()
    world.cluster.restart(world.cluster.nodes)
    return "all nodes"


def node_alone(world: World, dice: Random) -> str:
    """A node of the broker does not reach the others, and stands aside as long as it is alone."""
    hit = dice.choice(world.cluster.nodes)
    world.cluster.isolate(hit, alone=True)
    time.sleep(dice.uniform(3.0, 6.0))
    world.over()
    world.cluster.isolate(hit, alone=False)
    return hit.name


def everything(world: World, dice: Random) -> str:
    """Every process but the checker's own is killed: the power is cut. What Redis has answered was on disk."""
    for program in (world.redis, *world.cluster.nodes, *(service.program for service in world.services)):
        program.kill()
    time.sleep(dice.uniform(0.2, 1.0))
    world.over()
    world.mend()
    return "all processes"


def wire(of: Callable[[World], list[Service]], other: str, how: str, world: World, dice: Random) -> str:
    """Something happens to what two parties say to each other."""
    service = dice.choice(of(world))
    link = service.wires[other]
    match how:
        case "partition":
            link.held = True
            time.sleep(dice.choice((dice.uniform(1.0, 6.0), 14.0)))
        case "cut":
            for _ in range(dice.randint(1, 4)):
                link.cut()
                time.sleep(dice.uniform(0.1, 0.8))
        case "delay" | "loss":
            link.weather = SLOW if how == "delay" else LOSSY
            time.sleep(dice.uniform(3.0, 6.0))
    world.over()
    link.held = False
    link.weather = Weather()
    return f"{service.name} to {other}"


def short(of: str, world: World, dice: Random) -> str:
    """The broker is short of memory or disk, and reads nothing more from those who publish."""
    alarm = world.cluster.short_of_memory if of == "memory" else world.cluster.short_of_disk
    alarm(short=True)
    try:
        time.sleep(dice.uniform(2.0, 5.0))
        world.over()
    finally:
        alarm(short=False)
    return "all nodes"


def full(world: World, dice: Random) -> str:
    """Nobody takes updates, and their queue, which has a smaller bound for once, refuses more."""
    queue = updates_queue(world.setting.name)
    for service in world.aggregators:
        service.program.kill()
    world.cluster.bound(queue, FEW)
    try:
        time.sleep(dice.uniform(2.0, 5.0))
        world.over()
    finally:
        world.cluster.bound(queue, None)
        for service in world.aggregators:
            service.program.start()
    return queue


def restored(make: Callable[[World, Path], None], world: World, dice: Random) -> str:
    """Redis comes back with an older ledger: every aggregator must refuse it, until its newest state is restored.

    Raises:
        Accepted: one does not.
    """
    files = world.redis.folder / "appendonlydir"
    older, newest = world.folder / "older", world.folder / "newest"
    for left in (older, newest):
        shutil.rmtree(left, ignore_errors=True)
    make(world, older)
    world.redis.kill()
    for service in world.aggregators:
        service.expected = {LedgerBehind.exit_code}
    files.rename(newest)
    try:
        shutil.copytree(older, files)
        world.redis.start()
        _refused(world.aggregators)
        fresh = dice.choice(world.aggregators)
        fresh.program.start()
        _refused([fresh])
    finally:
        world.redis.kill()
        shutil.rmtree(files)
        newest.rename(files)
        world.over()
        world.redis.start()
        world.mend()
    return "redis"


def _refused(services: list[Service]) -> None:
    """Wait until aggregators have refused the ledger."""
    ended = (_ended(services) == services for _ in iter(int, 1))
    if not until(ended, REFUSAL_SECONDS):
        raise Accepted("an aggregator goes on with a ledger that is behind")
    codes = [service.program.code for service in services]
    if set(codes) != {LedgerBehind.exit_code}:
        raise Accepted(f"aggregators ended with {codes}, not {LedgerBehind.exit_code}")


def backup(world: World, older: Path) -> None:
    """A copy of the files that is some versions old."""
    shutil.copytree(world.redis.folder / "appendonlydir", older)
    _move_on(world)


def truncated(world: World, older: Path) -> None:
    """The newest files, whose last one has lost its end, in the middle of a command."""
    folder = world.redis.folder / "appendonlydir"
    file = max(folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    size = file.stat().st_size
    _move_on(world)
    shutil.copytree(folder, older)
    if not (older / file.name).exists():  # Redis has written its log anew meanwhile, and has no end of the old one
        shutil.rmtree(older)
        truncated(world, older)
        return
    with (older / file.name).open("r+b") as copy:
        copy.truncate(max(size - 7, 0))


def _move_on(world: World) -> None:
    if not world.commits.beyond(world.commits.newest + BEHIND - 1, REFUSAL_SECONDS):
        raise TimeoutError("the federation does not go on")


def together(servers: Sequence[Fault], services: Sequence[Fault], world: World, dice: Random) -> str:
    """A server and a service fail at the same time; it is over when both are."""
    pair = [(dice.choice(kinds), Random(dice.getrandbits(32))) for kinds in (servers, services)]  # noqa: S311 - no secret
    hit = list(world.hands.map(lambda one: one[0](world, one[1]), pair))
    world.ended_at = None  # one of them said so too early
    world.over()
    return " and ".join(hit)


def _aggregators(world: World) -> list[Service]:
    return world.aggregators


def _loads(world: World) -> list[Service]:
    return world.loads


LINKS = {
    "aggregator-redis": (_aggregators, "redis"),
    "aggregator-broker": (_aggregators, "broker"),
    "client-broker": (_loads, "broker"),
}
FAULTS: dict[str, tuple[int, Fault]] = {  # how often in a deck, and what it does
    "aggregator killed": (3, partial(process, _aggregators, "kill")),
    "aggregator stopped": (2, partial(stopped, _aggregators)),
    "aggregator asked to end": (2, partial(process, _aggregators, "stop")),
    "all aggregators killed": (2, aggregators),
    **{f"crash {point}": (1, partial(crash, point)) for point in POINTS},
    "client killed": (2, partial(process, _loads, "kill")),
    "client stopped": (1, partial(stopped, _loads)),
    "client asked to end": (1, partial(process, _loads, "stop")),
    "redis killed": (2, partial(redis_ended, "kill")),
    "redis stopped": (1, redis_stopped),
    "redis asked to end": (1, partial(redis_ended, "stop")),
    "redis out of memory": (1, redis_full),
    "redis clock ahead": (1, partial(clock, 1)),
    "redis clock behind": (1, partial(clock, -1)),
    "redis file truncated": (1, partial(restored, truncated)),
    "redis backup restored": (1, partial(restored, backup)),
    "node killed": (1, partial(node, "other", "kill")),
    "node stopped": (1, node_stopped),
    "node asked to end": (1, partial(node, "other", "stop")),
    "leader killed": (1, partial(node, "leader", "kill")),
    "all nodes killed": (1, nodes),
    "partition broker-broker": (1, node_alone),
    **{
        f"{how} {link}": (1, partial(wire, *ends, how))
        for link, ends in LINKS.items()
        for how in ("partition", "cut", "delay", "loss")
    },
    "broker short of memory": (1, partial(short, "memory")),
    "broker short of disk": (1, partial(short, "disk")),
    "queue of updates full": (1, full),
    "everything killed": (1, everything),
}
SERVERS = ("redis killed", "redis stopped", "node killed", "leader killed", "node stopped", "all nodes killed")
SERVICES = ("aggregator killed", "all aggregators killed", "client killed", "crash before-fold", "cut client-broker")
FAULTS["server and service at once"] = (
    4,
    partial(together, [FAULTS[kind][1] for kind in SERVERS], [FAULTS[kind][1] for kind in SERVICES]),
)
