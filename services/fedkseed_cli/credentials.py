"""The credentials of one federation in a folder: a file for each user that needs one, and what the servers load.

Servers know hashes only. What is in the folder already stays, so that a client can be added, and a password is changed by
removing its file. Files can be read by whoever gets into the folder: the users of containers are others.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from fedkseed.errors import FileError
from fedkseed.ledger import rights as store
from fedkseed.transport import rights as broker
from fedkseed.transport.rights import Rights, Role

EVALUATOR, MONITOR = "evaluator", "monitor"
VHOST = "/"
HASHING = "rabbit_password_hashing_sha256"
MONITOR_COMMANDS = "-@all +ping +info +config|get +latency|latest +latency|histogram +slowlog|get +slowlog|len"
BYTES = 24  # of a password, before it is written as text


def make(
    federation: str, clients: Sequence[str], folder: Path, namespace: str | None, *, amqps: bool, rediss: bool
) -> tuple[str, ...]:
    """Make what is missing, and what the servers load anew.

    Args:
        federation: its name.
        clients: names of all of them.
        folder: for the files.
        namespace: of Kubernetes, in which servers have names that are found from every namespace; none is Compose.
        amqps: whether RabbitMQ is reached by TLS.
        rediss: whether Redis is.

    Returns:
        The users.

    Raises:
        FileError: a file cannot be read or written.
    """
    domain = f".{namespace}.svc" if namespace else ""
    scheme, amqp = ("amqps", f"@rabbitmq{domain}:5671/%2F") if amqps else ("amqp", f"@rabbitmq{domain}:5672/%2F")
    kind, redis = "rediss" if rediss else "redis", f"redis{domain}:6379"
    files = {EVALUATOR: folder / EVALUATOR / "amqp-url", **{name: folder / "clients" / name for name in clients}}
    files |= {role: folder / role / "amqp-url" for role in get_args(Role)}
    passwords = {user: _url(path, f"{scheme}://{user}:{{}}{amqp}") for user, path in files.items()}
    stored = ("aggregator", broker.OPERATOR)
    stores = {user: _url(folder / user / "redis-url", f"{kind}://{user}:{{}}@{redis}/0") for user in stored}
    if not (folder / "grafana" / "password").exists():
        _write(folder / "grafana" / "password", password() + "\n")
    _write(folder / "rabbitmq" / "definitions.json", json.dumps(definitions(federation, clients, passwords), indent=2) + "\n")
    monitor = _exporter(folder / MONITOR / "redis-passwords.json", kind, redis)
    _write(folder / "redis" / "users.acl", _redis_users(federation, stores, monitor))
    return tuple(sorted(passwords))


def definitions(federation: str, clients: Sequence[str], passwords: Mapping[str, str]) -> dict[str, Any]:
    """What RabbitMQ loads when it starts: users, and what each may declare, write and read."""
    rights: dict[str, Rights] = {role: broker.of_role(federation, role) for role in get_args(Role)}
    rights[EVALUATOR] = broker.of_participant(federation, "evaluator", EVALUATOR)
    rights |= {name: broker.of_participant(federation, "client", name) for name in clients}
    return {
        "users": [user(name, passwords[name], rights[name]) | {"limits": rights[name].limits} for name in sorted(rights)],
        "vhosts": [{"name": VHOST}],
        "permissions": [{"user": name, "vhost": VHOST} | permission(each) for name, each in rights.items()],
        "topic_permissions": [
            {"user": name, "vhost": VHOST} | topic for name, each in rights.items() for topic in topics(each)
        ],
    }


def user(name: str, password: str, rights: Rights) -> dict[str, Any]:
    """A user as RabbitMQ is told of it."""
    return {"name": name, "tags": list(rights.tags), "password_hash": _hash(password, name), "hashing_algorithm": HASHING}


def permission(rights: Rights) -> dict[str, str]:
    """What it may do with exchanges and queues."""
    return {"configure": rights.configure, "write": rights.write, "read": rights.read}


def topics(rights: Rights) -> Iterator[dict[str, str]]:
    """What it may do with routing keys."""
    return map(asdict, rights.topics)


def password() -> str:
    """A new one, that nobody guesses."""
    return secrets.token_hex(BYTES)


def _hash(password: str, user: str) -> str:
    """As RabbitMQ keeps it; the salt follows from both, so that the same credentials give the same file."""
    salt = hashlib.sha256(f"{user}:{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _redis_users(federation: str, passwords: Mapping[str, str], monitor: str) -> str:
    """The users of Redis: who is nobody may ask whether it is alive, the monitor how it is, and neither sees a key."""
    lines = ["user default on nopass resetkeys resetchannels -@all +ping"]
    lines.append(f"user {MONITOR} on #{_sha256(monitor)} resetkeys resetchannels {MONITOR_COMMANDS}")
    lines += [f"user {user} on #{_sha256(secret)} {store.of_ledger(federation)}" for user, secret in passwords.items()]
    return "\n".join(lines) + "\n"


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _exporter(path: Path, scheme: str, server: str) -> str:
    """The monitor's password in a file as the exporter reads it: by address, which in older releases has no user."""
    if not path.exists():
        secret = password()
        known = {f"{scheme}://{MONITOR}@{server}": secret, f"{scheme}://{server}": secret}
        _write(path, json.dumps(known, indent=2) + "\n")
    return str(next(iter(json.loads(path.read_text(encoding="utf-8")).values())))


def _url(path: Path, pattern: str) -> str:
    """The password in a URL that is kept in a file."""
    if not path.exists():
        _write(path, pattern.format(password()) + "\n")
    return urlsplit(path.read_text(encoding="utf-8").strip()).password or ""


def _write(path: Path, text: str) -> None:
    """Readable for containers, whose users are others; whom the folder keeps out does not come so far."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
