"""What a doctor finds, and what to do about it: observations in, lines of advice out. Pure; it looks at nothing itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fedkseed.errors import (
    BaseMismatch,
    BaseMissing,
    BrokerDenied,
    BrokerError,
    BrokerUntrusted,
    DataError,
    FedkseedError,
    FileError,
    GenesisMismatch,
    LedgerAltered,
    LedgerBehind,
    LedgerDenied,
    LedgerMissing,
    LedgerSchemaUnknown,
    LedgerUnreachable,
    LedgerUntrusted,
    SupportMismatch,
)
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.head import Head
from fedkseed.messages import Round
from fedkseed.transport.visit import Sight
from fedkseed_aggregator.witness import LOOKS, judge

Mark = Literal["ok", "warning", "wrong", "not known", "not checked"]

OLDEST_RABBITMQ, OLDEST_REDIS = (3, 10), (7, 0)
CLOCK_SECONDS = 5.0  # off by more, deadlines are not what this machine takes them for
FULL = 0.9  # of the memory that Redis may take

_ADVICE: Mapping[type[FedkseedError], str] = {  # the first that fits
    BrokerUntrusted: "correct FEDKSEED_TLS_CA, FEDKSEED_TLS_CERTIFICATE and FEDKSEED_TLS_KEY, or the certificate of RabbitMQ",
    BrokerDenied: "correct user, password or virtual host in FEDKSEED_AMQP_URL, or what the user may do",
    BrokerError: "see that RabbitMQ runs, and that this machine reaches the host and port of FEDKSEED_AMQP_URL",
    LedgerUnreachable: "see that Redis runs, and that this machine reaches the host and port of FEDKSEED_REDIS_URL",
    LedgerUntrusted: "correct FEDKSEED_TLS_CA, FEDKSEED_TLS_CERTIFICATE and FEDKSEED_TLS_KEY, or the certificate of Redis",
    LedgerDenied: "correct user and password in FEDKSEED_REDIS_URL, or what the user may do",
    LedgerMissing: "found it with `fedkseed init`, or correct FEDKSEED_FEDERATION, or the database in FEDKSEED_REDIS_URL",
    LedgerSchemaUnknown: "use the version of fedkseed that wrote it, or a newer one",
    LedgerAltered: "restore it from a backup",
    LedgerBehind: "start no aggregator on this ledger before its newest state is back",
    GenesisMismatch: "correct FEDKSEED_FEDERATION or FEDKSEED_REDIS_URL: another federation has this name",
    BaseMissing: "correct FEDKSEED_BASE",
    BaseMismatch: "set FEDKSEED_BASE to the base that the federation was founded on",
    SupportMismatch: "set FEDKSEED_SUPPORT to the support.safetensors of the federation, or to nothing if it has none",
    DataError: "correct the file",
    FileError: "correct its path, or who may read and write it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one check."""

    what: str  # was looked at
    mark: Mark
    found: str
    advice: str = ""  # for what is not well: what to do

    def __str__(self) -> str:
        """As one line."""
        told = f"{self.mark:<11}  {self.what:<23}  {self.found}"
        return f"{told}; to do: {self.advice}" if self.advice else told


def record(findings: Sequence[Finding]) -> dict[str, Any]:
    """All of it, as JSON holds it."""
    return {"well": not wrong(findings), "findings": [asdict(finding) for finding in findings]}


def wrong(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Those that must be mended."""
    return [finding for finding in findings if finding.mark == "wrong"]


def ok(what: str, found: str) -> Finding:
    """All is well."""
    return Finding(what=what, mark="ok", found=found)


def unset(what: str, *variables: str) -> Finding:
    """A check that was not made."""
    missing = " and ".join(f"FEDKSEED_{name}" for name in variables)
    return Finding(what=what, mark="not checked", found=f"{missing} {'is' if len(variables) == 1 else 'are'} not set")


def failure(what: str, error: FedkseedError) -> Finding:
    """A check that failed."""
    advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), "")
    return Finding(what=what, mark="wrong", found=str(error), advice=advice)


def lacking(what: str, package: str) -> Finding:
    """A check that needs a package which is not there."""
    return Finding(what=what, mark="wrong", found=f"{package} is not installed", advice="pip install 'fedkseed[train]'")


def program(python: str, installed: Mapping[str, str | None]) -> Finding:
    """Which program this is, with the versions of packages that not everybody has."""
    versions = ", ".join(f"{name} {version}" for name, version in installed.items() if version)
    missing = [name for name, version in installed.items() if version is None]
    lacking = f"; without {', '.join(missing)}, which pip install 'fedkseed[train]' adds for who trains" if missing else ""
    return ok("program", f"Python {python}, {versions}{lacking}")


def broker(where: str, sight: Sight, *, tls: bool, local: bool) -> Iterator[Finding]:
    """The broker itself."""
    version = f"{where}: RabbitMQ {sight.version}, {'with' if tls else 'without'} TLS, heartbeat {sight.heartbeat_seconds} s"
    if not at_least(sight.version, OLDEST_RABBITMQ):
        yield Finding(what="broker", mark="wrong", found=version, advice="install RabbitMQ 3.10 or newer")
    elif not (tls or local):
        yield Finding(what="broker", mark="warning", found=version, advice="who listens reads the password: use amqps://")
    elif not sight.heartbeat_seconds:
        yield Finding(what="broker", mark="warning", found=version, advice="take heartbeat=0 out of FEDKSEED_AMQP_URL")
    else:
        yield ok("broker", version)
    if sight.blocked:
        short = "it is short of memory or disk, and takes nothing from who publishes"
        yield Finding(
            what="broker resources", mark="wrong", found=short, advice="give it more; rabbitmqctl status names the alarm"
        )


def queues(sight: Sight, role: str) -> Iterator[Finding]:
    """What a federation needs of the broker, for a role."""
    what = "queues and exchanges"
    if sight.different:
        advice = "remove it if nobody else needs it: a service declares it again as it should be"
        yield Finding(what=what, mark="wrong", found="; ".join(sight.different), advice=advice)
    elif sight.missing:
        found = f"not there yet: {', '.join(sight.missing)}; aggregators make what is shared, participants their own two queues"
        yield Finding(what=what, mark="not known", found=found)
    else:
        yield ok(what, "all there, and as they should be")
    if sight.denied:
        advice = "widen what the user of FEDKSEED_AMQP_URL may do in this virtual host"
        yield Finding(what="permissions", mark="wrong", found="; ".join(sight.denied), advice=advice)
    elif not (sight.missing or sight.blocked):
        yield ok("permissions", f"enough for {role}")


def archive(sight: Sight, stream: str, *, kept: bool) -> Finding:
    """The stream of every update, among all that aggregators declare; whether they are told to keep it."""
    what, there = "archive", f"queue {stream}" not in sight.missing
    refused = [text for text in (*sight.different, *sight.denied) if stream in text]
    if not kept and there:
        found = "aggregators are told to keep none, but the stream is there, and takes every update"
        return Finding(what=what, mark="warning", found=found, advice=f"remove {stream}, if nobody is to be forgotten")
    if not kept:
        return ok(what, "none is kept: no client can be forgotten")
    if not there and len(sight.missing) > 1:
        return Finding(what=what, mark="not known", found="not there yet: aggregators make it with the rest")
    if not there:
        advice = "set FEDKSEED_ARCHIVE=true for all aggregators, and start them again; what came before it is not in it"
        return Finding(what=what, mark="wrong", found="not there, though an aggregator has been here", advice=advice)
    if refused:
        advice = "widen what the user of FEDKSEED_AMQP_URL may do, or remove a stream of another kind"
        return Finding(what=what, mark="wrong", found="; ".join(refused), advice=advice)
    return ok(what, "it takes every update, and this user may read it")


def store(where: str, info: Mapping[str, str], appendfsync: str | None) -> Iterator[Finding]:
    """How Redis is set up; what it may not say is not known."""
    version = info.get("redis_version")
    if version is None:
        yield Finding(what="redis", mark="not known", found=f"{where}: it does not say its version to this user")
    elif at_least(version, OLDEST_REDIS):
        yield ok("redis", f"{where}: Redis {version}")
    else:
        yield Finding(what="redis", mark="wrong", found=f"{where}: Redis {version}", advice="install Redis 7.0 or newer")
    appendonly = {"0": "no", "1": "yes"}.get(info.get("aof_enabled", ""))
    yield _setting("appendonly", appendonly, "yes", "a ledger without it is lost when Redis ends")
    yield _setting("appendfsync", appendfsync, "always", "else what was acknowledged may be lost")
    yield _setting("maxmemory-policy", info.get("maxmemory_policy"), "noeviction", "else parts of a ledger may vanish")
    yield _memory(*(int(info.get(name, 0)) for name in ("used_memory", "maxmemory", "total_system_memory")))


def _setting(name: str, value: str | None, needed: str, why: str) -> Finding:
    what = f"redis {name}"
    if value is None:
        return Finding(what=what, mark="not known", found="it does not say to this user")
    if value == needed:
        return ok(what, value)
    return Finding(what=what, mark="wrong", found=value, advice=f"set `{name} {needed}` in redis.conf: {why}")


def _memory(used: int, limit: int, machine: int) -> Finding:
    if not (limit or machine):
        return Finding(what="redis memory", mark="not known", found="it does not say how much it may take")
    of = f"a limit of {limit >> 20} MiB" if limit else f"{machine >> 20} MiB of the machine, without a limit"
    found = f"{used >> 20} MiB used of {of}"
    if used > FULL * (limit or machine):
        return Finding(
            what="redis memory", mark="warning", found=found, advice="give it more: when it is full, it takes no updates"
        )
    return ok("redis memory", found)


def ledger(head: Head) -> Iterator[Finding]:
    """A ledger that was read, which verifies it."""
    digests = f"state {head.digest.hex():.16}, genesis {genesis_digest(head.genesis_bytes).hex():.16}"
    yield ok("ledger", f"{head.genesis.federation}: {head.state}, version {head.version}, {digests}")
    if head.announced == (head.version, head.round.attempt):
        yield ok("announcement", "the open round is announced")
    else:
        advice = "start an aggregator; one that runs announces it within seconds"
        yield Finding(what="announcement", mark="warning", found="the open round is not announced", advice=advice)


def witness(head: Head, remembered: Round | None) -> Finding:
    """A ledger against the last announcement that the broker remembers, which was asked before."""
    match judge(head, remembered, LOOKS):
        case LedgerBehind() as error:
            return failure("witness", error)
        case "agreed" if remembered:
            last = f"version {remembered.version}, attempt {remembered.attempt}"
            return ok("witness", f"the broker remembers {last}, which the ledger has")
        case "agreed":
            return ok("witness", "nothing was announced yet")
        case _:
            found = "the broker remembers no announcement: it cannot tell whether the ledger was set back"
            advice = "look again; if it was set up anew, see that the ledger is the newest one before an aggregator announces"
            return Finding(what="witness", mark="warning", found=found, advice=advice)


def clock(ahead_seconds: float) -> Finding:
    """This machine's clock against that of the ledger."""
    found = f"{abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds > 0 else 'behind'} the ledger's"
    if abs(ahead_seconds) <= CLOCK_SECONDS:
        return ok("clock", found)
    return Finding(what="clock", mark="warning", found=found, advice="deadlines are the ledger's time: let NTP set both clocks")


def no_clock() -> Finding:
    """A clock with none beside it."""
    found = "FEDKSEED_REDIS_URL is not set, and there is no other clock to compare with"
    return Finding(what="clock", mark="not checked", found=found)


def at_least(version: str, oldest: tuple[int, int]) -> bool:
    """Whether a version, such as 3.10.8, is not older than another."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= oldest
