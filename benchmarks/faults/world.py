"""The processes of a federation under test, the wires between them, and what is seen of it from outside.

aggregator 1, 2   each with a wire to Redis and one to the broker
load 1, 2         each with a wire to the broker
node 1, 2, 3      of RabbitMQ; a wire goes to the next node that takes a connection, as a balancer would
Redis             as deploying.md wants it: append-only file, fsync before every answer; with a clock that can be set
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Self

import benchmarks
from benchmarks.faults import load
from benchmarks.faults.cluster import Cluster
from benchmarks.wires import FAIR, LOOPBACK, Tap, Wire, unseen
from fedkseed.federation import Policy, Pool, Response, Rounds, Training
from fedkseed.genesis import Genesis
from fedkseed.ledger.records import key
from fedkseed.ledger.redis import RedisLedger
from fedkseed.settings import PREFIX
from fedkseed.transport.topology import dead_queue, updates_queue
from fedkseed_local.program import Program
from fedkseed_local.servers import RedisServer

SIZE, STEPS, LR = 1024, 32, 3e-7
LOOK_SECONDS = 0.05
LOAD_SAYS = {"disconnected": r"(?m)^Disconnected ", "blocked": r"(?m)^Blocked ", "refused by a full queue": r"(?m)^Refused "}
AGGREGATOR_SAYS = {
    "disconnected": r" disconnected ",
    "blocked": r" blocked by the broker",
    "waiting for the ledger": r" waiting for the ledger",
}
ROOT = Path(benchmarks.__file__).parent.parent
TIME = re.compile(rb"(\*2\r\n\$10\r\n)(\d{10})(\r\n\$\d\r\n\d{1,6}\r\n)")  # Redis's answer to TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How large a federation is, and how it is run."""

    name: str = "faults"
    aggregators: int = 2
    loads: int = 2
    clients: int = 1500  # names of each load process
    rate: float = 300.0  # updates a second, all load processes together
    cohort: int = 300
    minimum: int = 30
    deadline_seconds: float = 5.0
    max_staleness: int = 16
    fsync: str = "always"
    mutant: str = ""
    seed: int = 0

    @property
    def policy(self) -> Policy:
        """What the ledger is founded with."""
        rounds = Rounds(
            cohort=self.cohort,
            minimum=self.minimum,
            deadline_seconds=self.deadline_seconds,
            max_staleness=self.max_staleness,
            staleness_law="polynomial",
        )
        return Policy(training=Training(steps=STEPS, lr=LR), rounds=rounds)

    @property
    def genesis(self) -> bytes:
        """A federation without a model."""
        pool, response = Pool(size=SIZE), Response(kind="response")
        return Genesis(
            federation=self.name,
            layout=(),
            base_digest="0" * 64,
            support_digest=None,
            pool=pool,
            objective=response,
            lr=LR,
            tick=LR / 16,
        ).encode()


class ClockedRedis(RedisServer):
    """A Redis whose clock is wrong for who asks it through the wires: its answers to TIME are changed on their way."""

    def __init__(self, folder: Path, fsync: str) -> None:
        folder.mkdir()
        super().__init__(folder, {"appendfsync": fsync})
        self.skew = 0  # seconds from the right time

    def taps(self) -> tuple[Tap, Tap]:
        """Of a wire to it."""
        return (lambda data: data), (lambda data: TIME.sub(self._skewed, data) if self.skew else data)

    def _skewed(self, found: re.Match[bytes]) -> bytes:
        return found[1] + b"%d" % (int(found[2]) + self.skew) + found[3]

    def say(self, words: str) -> bytes:
        """One command, and the beginning of the answer, within a second.

        Raises:
            OSError: there is none.
        """
        with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
            connection.sendall(words.encode() + b"\r\n")
            return connection.recv(256)


@dataclass(slots=True, kw_only=True)
class Service:
    """A process of the federation."""

    program: Program
    wires: dict[str, Wire]  # by what is at the other end
    expected: set[int] = field(default_factory=set)  # codes with which it may end while something is wrong

    @property
    def name(self) -> str:
        """Of its log."""
        return self.program.log.stem

    @property
    def armed(self) -> Path:
        """Where it is said at which point it dies."""
        return self.program.log.with_suffix(".armed")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        with suppress(ProcessLookupError):
            os.kill(self.program.pid, number)


class Commits:
    """Looks at the ledger's version, past all wires, as long as it lives."""

    def __init__(self, redis: ClockedRedis, federation: str) -> None:
        self._redis, self._question = redis, f"HGET {key(federation, 'head')} version"
        self.newest = 0
        self.times: list[float] = []  # of every version seen, monotonic seconds
        self._changed, self._over = threading.Condition(), False
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def beyond(self, version: int, within: float) -> bool:
        """Whether a version after this one is there, or comes in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.newest > version, within)

    def longest_pause(self, since: float, until: float) -> float:
        """The longest time without a new version."""
        seen = [since, *(at for at in self.times if since < at < until), until]
        return max(after - before for before, after in pairwise(seen))

    def close(self) -> None:
        """Look no more."""
        self._over = True
        self._thread.join()

    def _look(self) -> None:
        while not self._over:
            with suppress(OSError, ValueError, IndexError):
                version = int(self._redis.say(self._question).split(b"\r\n")[1])
                if version > self.newest:
                    with self._changed:
                        self.newest = version
                        self.times.append(time.monotonic())
                        self._changed.notify_all()
            time.sleep(LOOK_SECONDS)


class World:
    """Everything, while it is entered.

    Args:
        folder: for all files; made.
        setting: see there.
        cluster: a running broker.
    """

    def __init__(self, folder: Path, setting: Setting, cluster: Cluster) -> None:
        folder.mkdir()
        self.folder, self.setting, self.cluster = folder, setting, cluster
        self.redis = ClockedRedis(folder / "redis", setting.fsync)
        self.exits: Counter[str] = Counter()  # services that ended by themselves, where nobody expects it
        self.ended_at: float | None = None  # when the fault that is played was over
        self.hands = ThreadPoolExecutor(2)  # for two faults at once; what a thread has started ends with it
        self._ending = ExitStack()
        self.aggregators = [self._aggregator(i) for i in range(1, setting.aggregators + 1)]
        self.loads = [self._load(i) for i in range(1, setting.loads + 1)]

    def __enter__(self) -> Self:
        """Found the federation, and start everybody."""
        with self._ending:
            self._ending.callback(self.hands.shutdown)  # last of all
            self._ending.callback(self.redis.kill)
            self.redis.start()
            RedisLedger.found(self.redis.url, self.setting.genesis, self.setting.policy).close()
            self.commits = Commits(self.redis, self.setting.name)
            self._ending.callback(self.commits.close)
            for service in self.services:
                self._ending.callback(service.program.kill)
                self._ending.callback(service.signal, signal.SIGCONT)
                service.program.start()
            self._ending = self._ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everybody but the broker."""
        self._ending.close()

    @property
    def services(self) -> list[Service]:
        """All that are not servers."""
        return [*self.aggregators, *self.loads]

    @property
    def wires(self) -> list[Wire]:
        """All of them."""
        return [wire for service in self.services for wire in service.wires.values()]

    def over(self) -> None:
        """The fault that is played is over: from now on the system recovers."""
        if self.ended_at is None:
            self.ended_at = time.monotonic()

    def heal(self) -> None:
        """Wires are whole, clocks are right, nobody is armed, stopped or short of anything."""
        for wire in self.wires:
            wire.weather, wire.torn, wire.held = FAIR, False, False
        self.redis.skew = 0
        for service in self.services:
            service.armed.unlink(missing_ok=True)
            service.signal(signal.SIGCONT)

    def mend(self) -> None:
        """Start again who has ended, as whoever runs services in earnest does; who ended for no known reason is counted."""
        if self.redis.code is not None:
            self.redis.start()
        if down := [node for node in self.cluster.nodes if node.code is not None]:
            self.cluster.restart(down)
        for service in self.services:
            if (code := service.program.code) is not None:
                if code not in service.expected | {-signal.SIGKILL}:
                    self.exits[f"{service.name} {code}"] += 1
                service.program.start()

    def quiet(self) -> None:
        """Have the load processes make no more updates."""
        for service in self.loads:
            (self.records(service) / load.QUIET).touch()

    def records(self, service: Service) -> Path:
        """Where a load process keeps its journal."""
        return self.folder / service.name

    @property
    def waiting(self) -> int:
        """Updates in the broker."""
        return self.cluster.waiting(updates_queue(self.setting.name))

    @property
    def dead(self) -> int:
        """Letters that were put aside."""
        return self.cluster.waiting(dead_queue(self.setting.name))

    def heard(self) -> Counter[str]:
        """What services said of their connections, in their logs: a fault of which nobody says anything is none."""
        heard: Counter[str] = Counter()
        for service in self.services:
            text = service.program.log.read_text(encoding="utf-8", errors="replace")
            who = service.name.partition("-")[0]
            words = AGGREGATOR_SAYS if service in self.aggregators else LOAD_SAYS
            heard.update({f"{who} {name}": len(re.findall(word, text)) for name, word in words.items()})
        return heard

    def _aggregator(self, number: int) -> Service:
        log = self.folder / f"aggregator-{number}.log"
        wires = {"redis": self._wire(self.redis.port, taps=self.redis.taps), "broker": self._broker()}
        environment = self._environment(wires["broker"]) | {
            "FEDKSEED_REDIS_URL": f"redis://{LOOPBACK}:{wires['redis'].port}/0",
            "FAULTS_ARMED": str(log.with_suffix(".armed")),
            "FAULTS_MUTANT": self.setting.mutant,
        }
        program = Program([sys.executable, "-m", "benchmarks.faults.aggregator"], log, environment)
        return Service(program=program, wires=wires)

    def _load(self, number: int) -> Service:
        name = f"load-{number}"
        wires = {"broker": self._broker()}
        (self.folder / name).mkdir()
        rate = str(self.setting.rate / self.setting.loads)
        words = [name, str(self.folder / name), str(self.setting.clients), rate, str(self.setting.seed)]
        command = [sys.executable, "-m", "benchmarks.faults.load", *words]
        return Service(program=Program(command, self.folder / f"{name}.log", self._environment(wires["broker"])), wires=wires)

    def _environment(self, wire: Wire) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        path = os.pathsep.join(map(str, (ROOT / "libs", ROOT / "services", ROOT)))
        url = self.cluster.nodes[0].url(port=wire.port)
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
        return inherited | single | {"FEDKSEED_FEDERATION": self.setting.name, "FEDKSEED_AMQP_URL": url}

    def _broker(self) -> Wire:
        ports = [node.port for node in self.cluster.nodes]
        return self._wire(*ports)

    def _wire(self, *ports: int, taps: Callable[[], tuple[Tap, Tap]] = unseen) -> Wire:
        wire = Wire(*ports, taps=taps, dice=Random(self.setting.seed))  # noqa: S311 - weather is no secret
        self._ending.callback(wire.close)
        return wire


def until(true: Iterable[bool], within: float) -> bool:
    """Whether something comes to be so in so many seconds; looked at ten times a second."""
    end = time.monotonic() + within
    for now in true:
        if now:
            return True
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return False
