"""deploy/kubernetes/overlays/production: nobody is left speaking plainly, and whoever speaks has what it takes."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest
import yaml

from fedkseed.settings import PREFIX
from fedkseed_cli import credentials
from tests.deployment import manifests, of_kind, pods

FILES = {"ca.crt", "tls.crt", "tls.key"}  # what cert-manager puts into a Secret
CLIENTS = ("client-1", "client-2", "client-3")
PLAIN = {5672, 15672, 15692}
MEMBERS = {4369, 25672, 35672}  # of RabbitMQ, among themselves
PODS = [pytest.param(template, id=name) for _, name, template in pods("production")]
SPEAKING = [
    param
    for param in PODS
    if param.values[0]["metadata"]["labels"].keys() & {f"fedkseed/reaches-{who}" for who in ("broker", "ledger")}
]


def certificates() -> dict[str, dict]:
    """What is asked of the authority, by the Secret that it goes into."""
    return {manifest["spec"]["secretName"]: manifest["spec"] for manifest in of_kind("production", "Certificate")}


def only(template: dict) -> dict:
    (container,) = template["spec"]["containers"]
    return container


def environment(template: dict) -> dict[str, str]:
    """Of its container, with what comes from ConfigMaps."""
    there = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind("production", "ConfigMap")}
    told: dict[str, str] = {}
    for source in only(template).get("envFrom", ()):
        told |= there[source["configMapRef"]["name"]]
    return told | {each["name"]: each.get("value", "") for each in only(template).get("env", ())}


def secret_at(template: dict, path: str) -> tuple[str, str]:
    """The Secret that is mounted at a path, and its key."""
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in template["spec"]["volumes"] if "secret" in volume}
    folder = PurePosixPath(path).parent
    (mount,) = (mount for mount in only(template)["volumeMounts"] if mount["mountPath"] == str(folder))
    return secrets[mount["name"]], PurePosixPath(path).name


@pytest.fixture(scope="module")
def urls(tmp_path_factory) -> dict[str, str]:
    """Of every role, as docs/deploying.md has them made."""
    folder = tmp_path_factory.mktemp("credentials")
    credentials.make("sentiment-three", CLIENTS, folder, "fedkseed", amqps=True, rediss=True)
    files: list[Path] = [*folder.glob("*/*-url"), *(folder / "clients").iterdir()]
    return {f"{file.parent.name}/{file.name}": file.read_text(encoding="utf-8").strip() for file in files}


@pytest.mark.parametrize("template", SPEAKING)
def test_who_speaks_with_a_server_trusts_the_authority_and_has_a_certificate_of_a_client(template):
    told = environment(template)
    exporter = {"CA_CERT", "CLIENT_CERT", "CLIENT_KEY"}
    names = [f"{PREFIX}TLS_{file}" for file in ("CA", "CERTIFICATE", "KEY")]
    if f"{PREFIX}FEDERATION" not in told:
        names = [f"REDIS_EXPORTER_TLS_{file}_FILE" for file in sorted(exporter)]
    secrets, keys = zip(*(secret_at(template, told[name]) for name in names), strict=True)
    assert set(keys) == FILES
    (secret,) = set(secrets)
    assert "client auth" in certificates()[secret]["usages"]
    assert certificates()[secret]["issuerRef"] == {"kind": "Issuer", "name": "authority"}


def test_everybody_who_has_a_url_is_among_those():
    def has_url(template: dict) -> bool:
        return any(re.search(r"(AMQP|REDIS)_URL|REDIS_ADDR", name) for name in environment(template))

    assert [param.id for param in PODS if has_url(param.values[0])] == [param.id for param in SPEAKING]


def test_every_url_is_one_of_tls_at_a_port_that_is_open_and_a_name_that_is_certified(urls):
    ports = {"amqps": (5671, "fedkseed-rabbitmq-tls"), "rediss": (6379, "fedkseed-redis-tls")}
    assert len(urls) == 2 * 2 + 1 + 1 + len(CLIENTS)
    for url in map(urlsplit, urls.values()):
        port, secret = ports[url.scheme]
        assert url.port == port
        assert url.hostname in certificates()[secret]["dnsNames"]
        assert "server auth" in certificates()[secret]["usages"]


def test_no_manifest_names_a_plain_protocol_or_a_plain_port():
    text = yaml.safe_dump_all(manifests("production"))
    assert re.findall(r"\b(?:amqp|redis|http)://\S+", text) == []
    policies = [manifest["spec"] for manifest in of_kind("production", "NetworkPolicy")]
    rules = [rule for spec in policies for rule in (*spec.get("ingress", ()), *spec.get("egress", ()))]
    allowed = {port["port"] for rule in rules for port in rule["ports"]}
    assert allowed & PLAIN == set()
    assert allowed - MEMBERS == {53, 443, 6443, 5671, 6379, 9121, 9464, 15671, 15691}


def test_rabbitmq_listens_by_tls_alone_and_asks_for_a_certificate():
    (cluster,) = (manifest["spec"] for manifest in of_kind("production", "RabbitmqCluster"))
    assert cluster["tls"]["disableNonTLSListeners"] is True
    assert cluster["tls"]["secretName"] == cluster["tls"]["caSecretName"] == "fedkseed-rabbitmq-tls"
    settings = dict(line.split(" = ") for line in cluster["rabbitmq"]["additionalConfig"].splitlines())
    assert settings["ssl_options.fail_if_no_peer_cert"] == "true"
    assert {value for name, value in settings.items() if name.startswith("ssl_options.versions.")} == {"tlsv1.2", "tlsv1.3"}


def test_every_member_of_rabbitmq_has_its_name_certified():
    """As the operator names pods and the service of them all."""
    (cluster,) = of_kind("production", "RabbitmqCluster")
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    members = {f"{name}-server-{i}.{name}-nodes.{namespace}" for i in range(cluster["spec"]["replicas"])}
    assert members <= set(certificates()["fedkseed-rabbitmq-tls"]["dnsNames"])


def test_keda_and_prometheus_trust_the_authority_and_are_known_by_a_certificate():
    (keda,) = (manifest["spec"] for manifest in of_kind("production", "TriggerAuthentication"))
    given = {one["parameter"]: (one["name"], one["key"]) for one in keda["secretTargetRef"]}
    ours = "fedkseed-monitor-tls"
    assert given.items() >= {"ca": (ours, "ca.crt"), "cert": (ours, "tls.crt"), "key": (ours, "tls.key")}.items()
    (switch,) = keda["configMapTargetRef"]
    (data,) = (one["data"] for one in of_kind("production", "ConfigMap") if one["metadata"]["name"] == switch["name"])
    assert (switch["parameter"], data[switch["key"]]) == ("tls", "enable")
    (rabbit,) = (one["spec"] for one in of_kind("production", "PodMonitor") if one["metadata"]["name"] == "rabbitmq")
    for end in rabbit["podMetricsEndpoints"]:
        assert (end["port"], end["scheme"]) == ("prometheus-tls", "https")
        assert end["tlsConfig"]["ca"]["secret"] == {"name": ours, "key": "ca.crt"}
        assert end["tlsConfig"]["serverName"] in certificates()["fedkseed-rabbitmq-tls"]["dnsNames"]
    assert "client auth" in certificates()[ours]["usages"]


def test_there_is_time_to_start_again_whoever_reads_its_certificate_once():
    hours = {
        secret: (int(spec["duration"][:-1]), int(spec["renewBefore"][:-1]))
        for secret, spec in certificates().items()
        if not spec.get("isCA")
    }
    assert len(hours) == len(certificates()) - 1 > 0
    assert all(24 * 30 < before < duration / 2 for duration, before in hours.values())


def test_the_authority_signs_and_keeps_its_key():
    issuers = {manifest["metadata"]["name"]: manifest["spec"] for manifest in of_kind("production", "Issuer")}
    secret = issuers["authority"]["ca"]["secretName"]
    authority = certificates()[secret]
    assert authority["isCA"]
    assert authority["privateKey"]["rotationPolicy"] == "Never"
    assert "selfSigned" in issuers[authority["issuerRef"]["name"]]
    mounted = {v["secret"]["secretName"] for p in PODS for v in p.values[0]["spec"]["volumes"] if "secret" in v}
    assert secret not in mounted
