"""deploy/kubernetes: both overlays build, fit the schemas of Kubernetes, are hardened, and agree with compose."""

import re
from pathlib import PurePosixPath

import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes import rules
from fedkseed.process import GRACE_SECONDS
from fedkseed.transport.line import CLOSING_SECONDS
from fedkseed.transport.topology import ARCHIVE_BYTES, mailbox_queue, updates_queue
from fedkseed_cli.__main__ import SUBCOMMANDS
from tests.deployment import DEPLOY, VERSION, compose, jobs, manifests, of_kind, pods, with_component
from tests.pages import ROOT, rows

OVERLAYS = ("single-node", "production")
VERSIONS = ("1.31", "1.37")  # the oldest with what is used here, and the newest whose schemas are known
CUSTOM = {
    "Issuer": "cert-manager.io/v1",
    "Certificate": "cert-manager.io/v1",
    "RabbitmqCluster": "rabbitmq.com/v1beta1",
    "ScaledObject": "keda.sh/v1alpha1",
    "TriggerAuthentication": "keda.sh/v1alpha1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}
FEDERATION = "sentiment-three"
ALL_PODS = [pytest.param(overlay, *pod, id=f"{overlay}-{pod[1]}") for overlay in OVERLAYS for pod in pods(overlay)]
each_pod = pytest.mark.parametrize(("overlay", "kind", "name", "template"), ALL_PODS)
both = pytest.mark.parametrize("overlay", OVERLAYS)


def only(template: dict) -> dict:
    (container,) = template["spec"]["containers"]
    return container


@both
@pytest.mark.parametrize("version", VERSIONS)
def test_what_kubernetes_knows_fits_its_schemas(overlay, version):
    known = [manifest for manifest in manifests(overlay) if manifest["kind"] not in CUSTOM]
    assert len(known) > 25
    for manifest in known:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("kind", CUSTOM)
def test_every_field_of_a_custom_resource_is_one_that_was_looked_up(kind):
    page = (DEPLOY / "kubernetes" / "README.md").read_text(encoding="utf-8")
    looked_up = {field.strip("`") for _kind, field, *_ in rows(page) if _kind == f"`{kind}`"}
    used = set()
    for manifest in of_kind("production", kind):
        assert manifest["apiVersion"] == CUSTOM[kind]
        used |= set(fields(manifest["spec"]))
    assert used == looked_up


def fields(value: object, path: str = ""):
    """Paths of what a resource states; what is below metadata, labels and the like is free."""
    match value:
        case dict() if value and not re.search(
            r"(\.|^)(metadata|matchLabels|labels|annotations|params|limits|requests)$", path
        ):
            for key, part in value.items():
                yield from fields(part, f"{path}.{key}" if path else key)
        case [dict(), *_]:
            for part in value:
                yield from fields(part, f"{path}[]")
        case _:
            yield path


@each_pod
def test_every_pod_is_restricted(overlay, kind, name, template):
    spec, container = template["spec"], only(template)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "fedkseed"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@each_pod
def test_every_container_has_bounds_and_is_asked_how_it_is(overlay, kind, name, template):
    container = only(template)
    assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in template["spec"]["volumes"] if "emptyDir" in volume)
    probes = {probe for probe in container if probe.endswith("Probe")}
    assert probes == (set() if kind == "Job" else {"startupProbe", "livenessProbe", "readinessProbe"})
    if template["metadata"]["labels"]["app.kubernetes.io/name"] == "fedkseed" and kind != "Job":
        asked = {probe: container[probe]["httpGet"] for probe in probes}
        assert {probe: ask["path"] for probe, ask in asked.items()} == {
            "startupProbe": "/healthz",
            "livenessProbe": "/healthz",
            "readinessProbe": "/readyz",
        }
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert {ask["port"] for ask in asked.values()} <= ports.keys()


@each_pod
def test_every_image_is_pinned_and_that_of_compose(overlay, kind, name, template):
    image = only(template)["image"]
    assert image in {service["image"] for service in compose()["services"].values()}
    assert re.search(r":v?\d+\.\d+\.\d+", image)
    assert not image.startswith("fedkseed-") or image.endswith(f":{VERSION}")


@each_pod
def test_a_service_has_the_time_that_it_needs_to_end(overlay, kind, name, template):
    if kind != "Job":
        assert template["spec"]["terminationGracePeriodSeconds"] >= GRACE_SECONDS + 4 * CLOSING_SECONDS + 10


@each_pod
def test_every_volume_configuration_and_secret_is_there(overlay, kind, name, template):
    there = {manifest["metadata"]["name"] for manifest in of_kind(overlay, "ConfigMap")}
    claims = {manifest["metadata"]["name"] for manifest in of_kind(overlay, "PersistentVolumeClaim")}
    container, volumes = only(template), {volume["name"]: volume for volume in template["spec"]["volumes"]}
    own = [m for m in of_kind(overlay, "StatefulSet") if m["metadata"]["name"] == name]
    templates = {claim["metadata"]["name"] for m in own for claim in m["spec"].get("volumeClaimTemplates", ())}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys() | templates
    assert {source["configMapRef"]["name"] for source in container.get("envFrom", ())} <= there
    assert {v["configMap"]["name"] for v in volumes.values() if "configMap" in v} <= there
    assert {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v} <= claims
    made = {f"fedkseed-{path.name}" for path in (DEPLOY / "compose" / "credentials").iterdir()}
    made |= {certificate["spec"]["secretName"] for certificate in of_kind(overlay, "Certificate")}
    assert {v["secret"]["secretName"] for v in volumes.values() if "secret" in v} <= made


@each_pod
def test_every_file_of_a_setting_is_mounted(overlay, kind, name, template):
    container = only(template)
    mounts = {PurePosixPath(mount["mountPath"]) for mount in container["volumeMounts"]}
    for variable in container.get("env", ()):
        if variable["name"].endswith("_FILE"):
            path = PurePosixPath(variable["value"])
            assert mounts & {path, *path.parents}


@each_pod
def test_every_command_is_one(overlay, kind, name, template):
    container = only(template)
    if container["image"].startswith("fedkseed-") and "command" not in container:
        assert container["args"][0] in SUBCOMMANDS


@both
def test_only_who_is_labelled_so_reaches_broker_and_ledger(overlay):
    labels = {name: template["metadata"]["labels"] for _, name, template in pods(overlay)}
    assert {name for name in labels if "fedkseed/reaches-broker" in labels[name]} == {"aggregator", "client", "evaluator"}
    exporters = {"redis-exporter"} & labels.keys()
    assert {name for name in labels if "fedkseed/reaches-ledger" in labels[name]} == {
        "aggregator",
        "init",
        "export",
    } | exporters


@both
def test_policies_deny_what_they_do_not_allow(overlay):
    policies = {manifest["metadata"]["name"]: manifest["spec"] for manifest in of_kind(overlay, "NetworkPolicy")}
    assert policies["deny-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    client = {"app.kubernetes.io/name": "fedkseed", "app.kubernetes.io/component": "client", "fedkseed/reaches-broker": "true"}
    out = {name for name, spec in policies.items() if spec.get("egress") and matches(spec["podSelector"], client)}
    assert out == {"names", "to-broker"}


def matches(selector: dict, labels: dict) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


@both
def test_every_selector_selects_a_pod(overlay):
    running = [template["metadata"]["labels"] for _, _, template in pods(overlay)]
    running += [{"app.kubernetes.io/name": m["metadata"]["name"]} for m in of_kind(overlay, "RabbitmqCluster")]
    for manifest in of_kind(overlay, "Service"):
        selector = {"matchLabels": manifest["spec"]["selector"]}
        assert any(matches(selector, labels) for labels in running), manifest["metadata"]["name"]
    for manifest in of_kind(overlay, "NetworkPolicy"):
        assert any(matches(manifest["spec"]["podSelector"], labels) for labels in running), manifest["metadata"]["name"]
    for manifest in of_kind(overlay, "PodDisruptionBudget", "PodMonitor"):
        assert any(matches(manifest["spec"]["selector"], labels) for labels in running), manifest["metadata"]["name"]


@both
def test_updates_are_archived_only_with_the_component_that_says_so(overlay, tmp_path):
    for made, kept in ((manifests(overlay), "false"), (with_component(overlay, "archive", tmp_path), "true")):
        by_name = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in made}
        sources = only(by_name["Deployment", "aggregator"]["spec"]["template"])["envFrom"]
        told = [by_name["ConfigMap", source["configMapRef"]["name"]]["data"] for source in sources]
        assert [data["FEDKSEED_ARCHIVE"] for data in told if "FEDKSEED_ARCHIVE" in data] == [kept]
        (room,) = (gibibytes(manifest) for manifest in made if rabbitmq(manifest))
        assert (room << 30 > ARCHIVE_BYTES) == (kept == "true")


def rabbitmq(manifest: dict) -> bool:
    """Whether it is what has RabbitMQ's volumes."""
    return manifest["kind"] in ("RabbitmqCluster", "StatefulSet") and manifest["metadata"]["name"] == "rabbitmq"


def gibibytes(manifest: dict) -> int:
    spec = manifest["spec"]
    claims = spec.get("volumeClaimTemplates") or [{"spec": {"resources": {"requests": spec["persistence"]}}}]
    return int(claims[0]["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))


def test_what_grows_is_left_to_keda():
    scaled = {m["spec"]["scaleTargetRef"]["name"]: m["spec"] for m in of_kind("production", "ScaledObject")}
    assert scaled.keys() == {"aggregator", "client"}
    for manifest in of_kind("production", "Deployment", "StatefulSet"):
        assert ("replicas" in manifest["spec"]) == (manifest["metadata"]["name"] not in scaled)
    queues = {name: spec["triggers"][0]["metadata"]["queueName"] for name, spec in scaled.items()}
    assert queues == {"aggregator": updates_queue(FEDERATION), "client": mailbox_queue(FEDERATION, "client-1")}


def test_the_federation_is_that_of_the_example():
    ours, example = DEPLOY / "kubernetes" / "base" / "federation.toml", ROOT / "examples" / "sentiment-three.toml"
    assert ours.read_text(encoding="utf-8") == example.read_text(encoding="utf-8")
    (environment,) = (m["data"] for m in of_kind("production", "ConfigMap") if m["metadata"]["name"].startswith("environment"))
    assert environment["FEDKSEED_FEDERATION"] == FEDERATION


def test_the_cluster_of_rabbitmq_is_configured_like_the_single_one():
    (cluster,) = of_kind("production", "RabbitmqCluster")
    alone = (DEPLOY / "rabbitmq" / "rabbitmq.conf").read_text(encoding="utf-8").splitlines()
    clustered = cluster["spec"]["rabbitmq"]["additionalConfig"].splitlines()
    assert {line for line in alone if line and line[0] != "#" and not line.startswith("log.")} <= set(clustered)
    assert cluster["spec"]["image"] == compose()["services"]["rabbitmq"]["image"]


def test_the_rules_of_a_cluster_are_those_of_the_one_file():
    """`python deploy/kubernetes/rules.py` makes them so."""
    assert rules.RESOURCE.read_text(encoding="utf-8") == rules.text()
    (ours,) = (rule for rule in of_kind("production", "PrometheusRule") if rule["metadata"]["name"] == "fedkseed")
    assert ours["spec"] == yaml.safe_load(rules.RULES.read_text(encoding="utf-8"))


def test_every_job_of_rules_and_dashboards_is_one_of_a_cluster():
    """As the relabelings of its PodMonitors name them, for the components that run."""
    ends = [end for monitor in of_kind("production", "PodMonitor") for end in monitor["spec"]["podMetricsEndpoints"]]
    names = [relabeling["replacement"] for end in ends for relabeling in end["relabelings"]]
    components = {t["metadata"]["labels"].get("app.kubernetes.io/component", "") for _, _, t in pods("production")}
    assert {"rabbitmq", "redis"} < jobs() <= {name.replace("$1", component) for name in names for component in components}


def test_the_exporter_of_redis_knows_where_it_is_and_is_asked_by_prometheus_alone():
    ((_, _, template),) = (pod for pod in pods("production") if pod[1] == "redis-exporter")
    told = {variable["name"]: variable["value"] for variable in only(template)["env"]}
    assert told["REDIS_ADDR"] == "rediss://redis.fedkseed.svc:6379"
    labels = template["metadata"]["labels"]
    policies = [m["spec"] for m in of_kind("production", "NetworkPolicy") if matches(m["spec"]["podSelector"], labels)]
    sources = [source for spec in policies for rule in spec.get("ingress", ()) for source in rule["from"]]
    assert sources == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_prometheus_finds_the_services_of_compose():
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    found = {}
    for job in configuration["scrape_configs"]:
        for target in job.get("dns_sd_configs", ()):
            found |= dict.fromkeys(target["names"], target["port"])
        for target in job.get("static_configs", ()):
            found |= {name: int(port) for name, port in (address.split(":") for address in target["targets"])}
    services = compose()["services"]
    reached = set(services["prometheus"]["networks"])
    assert {name for name in found if not reached & set(services[name]["networks"])} == set()
    for name, service in services.items():
        listen = (service.get("environment") or {}).get("FEDKSEED_METRICS_LISTEN", "")
        if listen and service["restart"] != "no":
            assert found[name] == int(listen.rsplit(":", 1)[1])
