"""The files of TLS, and what its failures are told as."""

import ssl

import pytest

from fedkseed.errors import SettingError
from fedkseed.ledger.connection import Connection
from fedkseed.tls import Tls, disagreement
from fedkseed.transport.line import Server
from tests.authority import Authority


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "authority")


def test_certificates_and_host_names_are_verified_whatever_is_given(authority):
    for tls in (Tls(), authority.tls(), authority.tls(authority.certify("ann"))):
        context = tls.context()
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_nobody_is_trusted_but_the_authority_that_was_named(authority):
    (trusted,) = authority.tls().context().get_ca_certs()
    assert trusted["subject"] == ((("commonName", "authority"),),)


def test_one_file_may_hold_certificate_and_key(authority, tmp_path):
    ann = authority.certify("ann")
    both = tmp_path / "both.pem"
    both.write_bytes(ann.certificate.read_bytes() + ann.key.read_bytes())
    Tls(certificate=both).context()


def test_a_file_that_cannot_be_used_is_named_with_its_variable_and_the_reason(authority, tmp_path):
    ann, bob, hidden = authority.certify("ann"), authority.certify("bob"), authority.certify("hidden", password=b"secret")
    text, none = tmp_path / "text", tmp_path / "none"
    text.write_text("no PEM")
    for tls, told in (
        (Tls(authority=none), f"FEDKSEED_TLS_CA: {none}: No such file"),
        (Tls(authority=tmp_path), f"FEDKSEED_TLS_CA: {tmp_path}: "),
        (Tls(authority=text), f"FEDKSEED_TLS_CA: {text}: no certificate in PEM"),
        (Tls(certificate=none, key=ann.key), f"FEDKSEED_TLS_CERTIFICATE: {none}: No such file"),
        (Tls(certificate=ann.certificate, key=none), f"FEDKSEED_TLS_KEY: {none}: No such file"),
        (Tls(certificate=ann.certificate, key=tmp_path), f"FEDKSEED_TLS_KEY: {tmp_path}: Is a directory"),
        (Tls(certificate=ann.certificate, key=bob.key), f"{bob.key}: key of another certificate"),
        (Tls(certificate=ann.certificate), f"{ann.certificate}: no certificate and key in PEM"),
        (Tls(certificate=hidden.certificate, key=hidden.key), f"FEDKSEED_TLS_KEY: {hidden.key}: it is encrypted"),
        (Tls(key=ann.key), "FEDKSEED_TLS_KEY without FEDKSEED_TLS_CERTIFICATE"),
    ):
        with pytest.raises(SettingError) as caught:
            tls.context()
        assert told in str(caught.value)


@pytest.mark.parametrize(
    "options",
    ["ssl_cert_reqs=none", "ssl_check_hostname=False", "ssl_ca_certs=/tmp/ca.pem", "ssl_ciphers=ALL"],
)
def test_no_url_of_redis_says_how_to_verify(options):
    with pytest.raises(SettingError, match="options of TLS"):
        Connection(f"rediss://ann:secret@127.0.0.1/0?{options}")


def test_no_url_of_rabbitmq_says_how_to_verify():
    with pytest.raises(SettingError, match="ssl_options"):
        Server("amqps://ann:secret@127.0.0.1/%2F?ssl_options=%7B%27verify_mode%27%3A0%7D", "test")


def test_files_are_not_looked_at_where_there_is_no_tls(tmp_path):
    missing = Tls(authority=tmp_path / "none")
    assert Server("amqp://127.0.0.1", "test", missing).parameters("publishing").ssl_options is None
    Connection("redis://127.0.0.1/0", missing)
    for begin in (lambda: Server("amqps://127.0.0.1", "test", missing), lambda: Connection("rediss://127.0.0.1/0", missing)):
        with pytest.raises(SettingError, match="FEDKSEED_TLS_CA"):
            begin()


def test_words_about_something_else_are_no_disagreement():
    assert disagreement("Connection refused") is None
