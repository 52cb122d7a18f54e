"""deploy/compose/tls.yml: RabbitMQ by TLS alone, and everybody who speaks with it knows whom to trust."""

import json

from tests.deployment import DEPLOY, tool


def secured(monkeypatch, tmp_path) -> dict:
    monkeypatch.setenv("CERTIFICATES", str(tmp_path))
    files = ("--file", "docker-compose.yml", "--file", "deploy/compose/tls.yml")
    return json.loads(tool("docker-compose", *files, "--profile", "*", "config", "--format", "json"))


def test_everybody_who_has_a_url_of_rabbitmq_knows_whom_to_trust(monkeypatch, tmp_path):
    services = secured(monkeypatch, tmp_path)["services"]
    speaking = {name for name, service in services.items() if "FEDKSEED_AMQP_URL_FILE" in (service.get("environment") or {})}
    assert {"aggregator", "client-1", "evaluator", "operator"} <= speaking
    for name in speaking:
        assert services[name]["environment"]["FEDKSEED_TLS_CA"] == "/run/secrets/tls-ca"
        assert "tls-ca" in {secret["source"] for secret in services[name]["secrets"]}
        assert "amqp-url" in {secret["target"] for secret in services[name]["secrets"]}


def test_rabbitmq_listens_by_tls_alone_with_the_files_that_it_is_given(monkeypatch, tmp_path):
    rabbitmq = secured(monkeypatch, tmp_path)["services"]["rabbitmq"]
    said = dict(line.split(" = ") for line in (DEPLOY / "rabbitmq" / "tls.conf").read_text().splitlines() if line[0] != "#")
    given = {f"/run/secrets/{secret['source']}" for secret in rabbitmq["secrets"]}
    assert (said["listeners.tcp"], said["ssl_options.verify"]) == ("none", "verify_peer")
    assert {said[f"ssl_options.{file}"] for file in ("cacertfile", "certfile", "keyfile")} <= given
    assert int(said["listeners.ssl.default"]) in {port["target"] for port in rabbitmq["ports"]}
