"""Members of RabbitMQ speak with each other by TLS: the settings of the cluster's manifest, on two nodes of this machine."""

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedkseed_local.program import SECONDS_TO_START
from fedkseed_local.servers import LOOPBACK, RabbitServer, script
from tests.authority import Authority
from tests.deployment import of_kind
from tests.servers import running

SETTINGS = "/etc/rabbitmq/members.config"


def cluster() -> dict:
    (found,) = (manifest["spec"] for manifest in of_kind("production", "RabbitmqCluster"))
    return found


def mounted() -> str:
    """What the manifest has at the place that the arguments name."""
    spec = cluster()["override"]["statefulSet"]["spec"]["template"]["spec"]
    (mount,) = (mount for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"] == SETTINGS)
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == mount["name"])
    there = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind("production", "ConfigMap")}
    return there[volume["configMap"]["name"]][mount["subPath"]]


class Member(RabbitServer):
    """A node that others of the same folder may join; its name is one of this machine.

    Args:
        folder: with the files of a certificate; each node has a folder in it.
        name: of the node, before the host.
        mapper: the port of the mapper that all nodes share, when another node started it.
    """

    def __init__(self, folder: Path, name: str, mapper: str | None = None) -> None:
        (folder / name).mkdir()
        super().__init__(folder / name)
        own = {"RABBITMQ_NODENAME": f"{name}@localhost", "HOME": str(folder)}
        self.environment |= own | ({"ERL_EPMD_PORT": mapper} if mapper else {})
        self.mapper = self.environment["ERL_EPMD_PORT"]
        text = mounted().replace("/etc/rabbitmq-tls", str(folder))
        (folder / name / "members.config").write_text(text, encoding="utf-8")
        arguments = cluster()["rabbitmq"]["envConfig"].replace(SETTINGS, str(folder / name / "members.config"))
        here = f"{self.environment.pop('RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS')} -proto_dist"
        (folder / name / "environment").write_text(arguments.replace("-proto_dist", here), encoding="utf-8")

    def control(self, *words: str) -> str:
        command = [script("rabbitmqctl"), "--quiet", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS_TO_START, env=self.environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def folder(authority, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("members")
    (asked,) = (m["spec"] for m in of_kind("production", "Certificate") if m["metadata"]["name"] == "rabbitmq")
    own = authority.certify("localhost", usages=[usage for usage in asked["usages"] if usage.endswith("auth")])
    for source, name in ((authority.file, "ca.crt"), (own.certificate, "tls.crt"), (own.key, "tls.key")):
        shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def members(folder) -> Iterator[tuple[Member, Member]]:
    with ExitStack() as stack:
        first = stack.enter_context(running(Member(folder, "first")))
        second = stack.enter_context(running(Member(folder, "second", first.mapper)))
        yield first, second


def test_members_find_each_other_and_speak_by_tls(members):
    _, second = members
    second.control("stop_app")
    second.control("join_cluster", "first@localhost")
    second.control("start_app")
    assert set(re.findall(r"\w+@localhost", second.control("eval", "nodes()."))) >= {"first@localhost"}
    assert "inet_tls" in second.control("eval", "init:get_argument(proto_dist).")


def test_a_member_hears_nobody_who_has_no_certificate(members, authority, folder):
    port = int(members[0].environment["RABBITMQ_DIST_PORT"])

    def says(own: tuple[Path, Path] | None) -> bytes:
        context = ssl.create_default_context(cafile=authority.file)
        if own:
            context.load_cert_chain(*own)
        with (
            socket.create_connection((LOOPBACK, port)) as plain,
            context.wrap_socket(plain, server_hostname=LOOPBACK) as secured,
        ):
            secured.sendall(b"\0\1x")  # no greeting of a node
            return secured.recv(1)

    assert says((folder / "tls.crt", folder / "tls.key")) == b""  # heard, and hung up
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake.failure"):
        says(None)
