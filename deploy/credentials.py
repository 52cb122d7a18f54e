"""Make the credentials of one federation.

    python3 deploy/credentials.py --federation NAME --client CLIENT ... --out DIR [--namespace NAMESPACE]

One folder for each role, so that each is given its own and no other:

    rabbitmq/    definitions.json: users and what they may do
    redis/       users.acl: likewise
    aggregator/  amqp-url, redis-url
    evaluator/   amqp-url
    clients/     one AMQP URL for each client, in a file of its name
    operator/    amqp-url, redis-url; user and password are also those of RabbitMQ's management pages
    monitor/     amqp-url of a user that sees how long queues are; redis-passwords.json for the exporter of Redis
    grafana/     password of the user `admin`

Servers know hashes only. What already is in DIR stays: to change a password is to remove its folder, and to add a client is
to name it beside the others. A namespace is that of Kubernetes: servers are then named so that all namespaces find them.
Needs nothing but Python.
"""

import argparse
import base64
import hashlib
import json
import re
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

EVALUATOR = "evaluator"
VHOST = "/"
MONITOR = "monitor"
MONITOR_COMMANDS = "-@all +ping +info +config|get +latency|latest +latency|histogram +slowlog|get +slowlog|len"
LEDGER_COMMANDS = "-@all +@read +@write +@transaction +@connection +time -@dangerous"


def main() -> int:
    """Make what is missing, and say where it is."""
    parser = argparse.ArgumentParser(description="Make the credentials of one federation.")
    parser.add_argument("--federation", required=True, metavar="NAME")
    parser.add_argument("--client", required=True, action="append", metavar="CLIENT", dest="clients")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--namespace", metavar="NAMESPACE")
    arguments = parser.parse_args()
    folder: Path = arguments.out
    domain = f".{arguments.namespace}.svc" if arguments.namespace else ""
    amqp, redis = f"@rabbitmq{domain}:5672/%2F", f"@redis{domain}:6379/0"
    participants = {EVALUATOR: folder / EVALUATOR / "amqp-url", **{c: folder / "clients" / c for c in arguments.clients}}
    served = {user: folder / user / "amqp-url" for user in ("aggregator", MONITOR, "operator")}
    passwords = {user: _url(path, f"amqp://{user}:{{}}{amqp}") for user, path in (participants | served).items()}
    stores = {user: _url(folder / user / "redis-url", f"redis://{user}:{{}}{redis}") for user in ("aggregator", "operator")}
    if not (folder / "grafana" / "password").exists():
        _write(folder / "grafana" / "password", secrets.token_hex(24) + "\n")
    definitions = _definitions(arguments.federation, tuple(participants), passwords)
    _write(folder / "rabbitmq" / "definitions.json", json.dumps(definitions, indent=2) + "\n")
    monitor = _exporter(folder / MONITOR / "redis-passwords.json", f"redis{domain}:6379")
    _write(folder / "redis" / "users.acl", _redis_users(arguments.federation, stores, monitor))
    print(f"{folder}: credentials of {', '.join(sorted({*passwords, *stores}))}")
    return 0


def _definitions(federation: str, participants: tuple[str, ...], passwords: dict[str, str]) -> dict[str, object]:
    """What RabbitMQ loads when it starts: users, and what each may declare, write and read."""
    everything = rf"^fedkseed\.{re.escape(federation)}\."
    permissions = [
        _permission("operator", ".*", ".*", ".*"),
        _permission("monitor", "^$", "^$", everything),
        _permission("aggregator", everything, rf"{everything}|^amq\.default$", everything),
    ]
    for name in participants:
        own = rf"(client|receipts)\.{re.escape(name)}"  # its queues: declared, bound, read
        heard = "rounds|receipts"  # exchanges that they are bound to
        permissions.append(
            _permission(name, rf"{everything}{own}$", rf"{everything}(updates|{own})$", rf"{everything}({heard}|{own})$")
        )
    users = [{"name": u, "tags": _tags(u), "password_hash": _hash(p, u)} for u, p in sorted(passwords.items())]
    return {
        "users": [user | {"hashing_algorithm": "rabbit_password_hashing_sha256"} for user in users],
        "vhosts": [{"name": VHOST}],
        "permissions": permissions,
        "topic_permissions": [one for name in participants for one in _topics(federation, name)],
    }


def _permission(user: str, configure: str, write: str, read: str) -> dict[str, str]:
    return {"user": user, "vhost": VHOST, "configure": configure, "write": write, "read": read}


def _topics(federation: str, name: str) -> list[dict[str, str]]:
    """What a participant may write and bind by routing key: only in its own name, and only its own receipts."""
    own, said = re.escape(name), "evaluation" if name == EVALUATOR else "update"
    keys = {
        "rounds": ("^$", "^round$"),
        "updates": (rf"^({said}|snapshot)\.{own}$", "^$"),
        "receipts": ("^$", f"^{own}$"),
    }
    return [
        {"user": name, "vhost": VHOST, "exchange": f"fedkseed.{federation}.{exchange}", "write": write, "read": read}
        for exchange, (write, read) in keys.items()
    ]


def _tags(user: str) -> list[str]:
    return {"operator": ["administrator"], "monitor": ["monitoring"]}.get(user, [])


def _hash(password: str, user: str) -> str:
    """As RabbitMQ keeps it; the salt follows from both, so that the same credentials give the same file."""
    salt = hashlib.sha256(f"{user}:{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _redis_users(federation: str, passwords: dict[str, str], monitor: str) -> str:
    """The users of Redis: who is nobody may ask whether it is alive, the monitor how it is, and neither sees a key."""
    lines = ["user default on nopass resetkeys resetchannels -@all +ping"]
    lines.append(f"user {MONITOR} on #{_sha256(monitor)} resetkeys resetchannels {MONITOR_COMMANDS}")
    for user, password in passwords.items():
        lines.append(f"user {user} on #{_sha256(password)} ~{{{federation}}}:* resetchannels {LEDGER_COMMANDS}")
    return "\n".join(lines) + "\n"


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _exporter(path: Path, server: str) -> str:
    """The monitor's password in a file as the exporter reads it: by address, which in older releases has no user."""
    if not path.exists():
        password = secrets.token_hex(24)
        known = {f"redis://{MONITOR}@{server}": password, f"redis://{server}": password}
        _write(path, json.dumps(known, indent=2) + "\n")
    return next(iter(json.loads(path.read_text(encoding="utf-8")).values()))


def _url(path: Path, pattern: str) -> str:
    """The password in a URL that is kept in a file."""
    if not path.exists():
        _write(path, pattern.format(secrets.token_hex(24)) + "\n")
    return urlsplit(path.read_text(encoding="utf-8").strip()).password or ""


def _write(path: Path, text: str) -> None:
    """Readable for containers, whose users are others; whom the folder keeps out does not come so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


if __name__ == "__main__":
    sys.exit(main())
