"""A federation of real processes over TLS, each with its own user, certificate and files: it trains, and tells no secret."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fedkseed import federation as settings
from fedkseed import model
from fedkseed.codec import encode
from fedkseed.ledger.redis import RedisLedger
from fedkseed.tls import Tls
from fedkseed.transport.door import REASON
from fedkseed.transport.topology import NOTHING, dead_queue, to_aggregator
from fedkseed_cli import credentials
from fedkseed_local.program import Program
from fedkseed_local.servers import LOOPBACK, free_port
from fedkseed_local.services import service
from tests.embedded import TOY, described, fedkseed, write_rows, write_toml
from tests.ledgers import update
from tests.parties import at
from tests.processes import until
from tests.secured import SecuredRedis, authority, secured_rabbit
from tests.servers import running

__all__ = ["authority", "secured_rabbit"]
F = "toy"
WRONG = "f0e1d2c3b4a5968778695a4b3c2d1e0f"  # a password that opens nothing


@dataclass
class Camp:
    """A federation whose services run."""

    programs: dict[str, Program]
    urls: dict[str, str]  # by user and server, as in `ann amqp`
    ports: dict[str, str]
    tls: Tls

    @property
    def secrets(self) -> set[str]:
        return {str(urlsplit(url).password) for url in self.urls.values()}


@pytest.fixture(scope="module")
def camp(secured_rabbit, authority, tiny_base, tmp_path_factory) -> Iterator[Camp]:
    folder = tmp_path_factory.mktemp("camp")
    credentials.make(F, ("ann", "bob"), folder / "made", None, amqps=True, rediss=True)
    acl = {"aclfile": str(folder / "made" / "redis" / "users.acl")}
    secured_rabbit.ask("POST", "definitions", json.loads((folder / "made" / "rabbitmq" / "definitions.json").read_text()))
    with running(SecuredRedis(_folder(folder / "redis"), authority, authority.certify("store"), acl)) as redis:
        urls = {}
        for file in (*(folder / "made").glob("*/*-url"), *(folder / "made" / "clients").iterdir()):
            text = file.read_text().replace("@rabbitmq:5671", f"@{LOOPBACK}:{secured_rabbit.tls_port}")
            url = urlsplit(text.replace("@redis:6379", f"@{LOOPBACK}:{redis.tls_port}").strip())
            urls[f"{url.username} {url.scheme.removesuffix('s')}"] = url.geturl()
        camp = Camp(programs={}, urls=urls, ports={}, tls=authority.tls(authority.certify("operator")))
        toml = write_toml(folder / "federation.toml", described(tiny_base, folder, TOY, rounds={"cohort": 2, "total": 1000}))
        federation = settings.load(toml)
        founded = model.found(federation, model.open_base(federation.model.base)).encode()
        RedisLedger.found(urls["operator redis"], founded, federation.policy, tls=camp.tls).close()
        rows = str(write_rows(folder / "rows.jsonl", TOY))
        arguments = {"aggregator": ["aggregator"], "evaluator": ["evaluator", "--data", rows]}
        for who in ("aggregator", "ann", "bob", "evaluator"):
            own = authority.certify(who)
            environment = {
                "FEDKSEED_FEDERATION": F,
                "FEDKSEED_CLIENT_ID": who,
                "FEDKSEED_BASE": str(tiny_base),
                "FEDKSEED_STATE_DIR": str(folder / who),
                "FEDKSEED_TLS_CA": str(authority.file),
                "FEDKSEED_TLS_CERTIFICATE": str(own.certificate),
                "FEDKSEED_TLS_KEY": str(own.key),
                "FEDKSEED_METRICS_LISTEN": camp.ports.setdefault(who, f"{LOOPBACK}:{free_port()}"),
            }
            for kind in ("amqp", "redis"):
                if url := urls.get(f"{who} {kind}"):
                    file = folder / f"{who}-{kind}"
                    file.write_text(url)
                    environment[f"FEDKSEED_{kind.upper()}_URL_FILE"] = str(file)
            program = service(arguments.get(who, ["client", "--data", rows]), folder / f"{who}.log", environment)
            camp.programs[who] = program
        try:
            for program in camp.programs.values():
                program.start()
            yield camp
        finally:
            for program in camp.programs.values():
                program.kill()


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def page(listen: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{listen}/{path}", timeout=60) as answer:
        return answer.read().decode()


def test_it_trains_and_no_secret_is_in_a_log_a_metric_or_a_list_of_processes(camp):
    with closing(RedisLedger.open(camp.urls["operator redis"], F, tls=camp.tls)) as ledger:

        def running_well() -> bool:
            assert all(program.code is None for program in camp.programs.values()), "a service has ended"
            return ledger.head().version >= 2 and bool(ledger.head().evaluations)

        until(running_well)
    shown = {}
    for who, program in camp.programs.items():
        pages = [page(camp.ports[who], path) for path in ("metrics", "readyz")]
        listed = [Path(f"/proc/{program.pid}/{what}").read_bytes().decode() for what in ("cmdline", "environ")]
        shown[who] = "\n".join([program.log.read_text(), *pages, *listed])
    assert len(camp.secrets) == 8
    assert {who for who, text in shown.items() for secret in camp.secrets if secret in text} == set()


def test_an_update_that_is_signed_by_somebody_else_is_a_dead_letter(camp, secured_rabbit):
    """Even where RabbitMQ was told to let it through."""
    with closing(RedisLedger.open(camp.urls["operator redis"], F, tls=camp.tls)) as ledger:
        forged = encode(update(ledger.head(), "ann", federation=F))
    place = at(secured_rabbit.tls_url("guest", "guest"), tls=camp.tls)  # who may everything
    forger = place.somebody(NOTHING, dead_queue(F))
    forger.send(to_aggregator(F, "update", "ann"), forged, token=1)
    place.until(lambda: any(each.body == forged for each in forger.deliveries))
    (told,) = (each.headers[REASON] for each in forger.deliveries if each.body == forged)
    assert told == "Update with routing key update.ann, signed by guest"
    place.close()


def test_a_command_that_fails_tells_no_password(camp, monkeypatch, capsys, tmp_path):
    def wrong(key: str) -> str:
        url = urlsplit(camp.urls[key])
        return url._replace(netloc=url.netloc.replace(str(url.password), WRONG)).geturl()

    for name, file in (("CA", camp.tls.authority), ("CERTIFICATE", camp.tls.certificate), ("KEY", camp.tls.key)):
        monkeypatch.setenv(f"FEDKSEED_TLS_{name}", str(file))
    monkeypatch.setenv("FEDKSEED_FEDERATION", F)
    monkeypatch.setenv("FEDKSEED_CLIENT_ID", "ann")
    monkeypatch.setenv("FEDKSEED_AMQP_URL", wrong("ann amqp"))
    monkeypatch.setenv("FEDKSEED_REDIS_URL", wrong("operator redis"))
    codes = {words: fedkseed(monkeypatch, *words.split()) for words in ("status", "log", "dead list", "doctor")}
    assert codes == {"status": 64, "log": 64, "dead list": 71, "doctor": 90}
    aggregator = service(["aggregator"], tmp_path / "log", {k: v for k, v in os.environ.items() if k.startswith("FEDKSEED_")})
    aggregator.start()
    assert aggregator.ended(within=60.0)
    assert aggregator.code == 71
    monkeypatch.setenv("FEDKSEED_REDIS_URL", f"http://op:{WRONG}@nowhere")
    monkeypatch.setenv("FEDKSEED_AMQP_URL", f"amqp://op:{WRONG}@nowhere:port/")
    assert {fedkseed(monkeypatch, *words.split()) for words in ("status", "dead list", "doctor")} == {10}
    said = capsys.readouterr()
    assert WRONG not in said.out + said.err + aggregator.log.read_text()
