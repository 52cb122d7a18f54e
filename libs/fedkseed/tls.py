"""TLS to RabbitMQ and Redis: whom this process trusts, who it is, and why a connection was not made.

The only module that imports `ssl`. The other end's certificate and host name are verified always; nothing turns that off.
"""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from fedkseed.errors import SettingError

LISTEN_SECONDS = 2.0
_CAUSES = (  # of failures, in the words of OpenSSL, which others pass on in theirs
    (r"Hostname mismatch|IP address mismatch", "its certificate is for another host"),
    (r"certificate has expired", "its certificate has expired"),
    (r"certificate is not yet valid", "its certificate is not valid yet"),
    (
        r"self.signed certificate|unable to get local issuer certificate",
        "its certificate is of an authority that is not trusted: FEDKSEED_TLS_CA names one",
    ),
    (r"certificate verify failed: ([^(\n]*)", r"its certificate does not verify: \1"),
    (
        r"ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE|(alert )?certificate required",
        "it asks for a client's certificate: FEDKSEED_TLS_CERTIFICATE and FEDKSEED_TLS_KEY",
    ),
    (r"ALERT_UNKNOWN_CA", "it does not trust the authority of FEDKSEED_TLS_CERTIFICATE"),
    (r"ALERT_CERTIFICATE_EXPIRED", "FEDKSEED_TLS_CERTIFICATE has expired"),
    (r"ALERT_(BAD|UNSUPPORTED)_CERTIFICATE|ALERT_CERTIFICATE_(REVOKED|UNKNOWN)", "it refuses FEDKSEED_TLS_CERTIFICATE"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS at this port"),
    (r"ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL", "it speaks no version of TLS from 1.2 on"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM; without any, the authorities that the system trusts, and no certificate of our own."""

    authority: Path | None = None  # certificates of those who are trusted, and of nobody else
    certificate: Path | None = None  # ours, with those between it and its authority
    key: Path | None = None  # of our certificate, not encrypted; the file of the certificate may hold it

    def context(self) -> ssl.SSLContext:
        """What a connection is secured by: TLS 1.2 or newer.

        Raises:
            SettingError: a file cannot be read or holds something else; the message names variable and file.
        """
        context = ssl.create_default_context()
        if self.authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificates and host names
            _trust(context, self.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            _present(context, self.certificate, self.key)
        elif self.key:
            raise SettingError("FEDKSEED_TLS_KEY without FEDKSEED_TLS_CERTIFICATE")
        return context


def disagreement(said: str) -> str | None:
    """Why two ends did not agree on TLS, in one clause about the other end; None when the words are about something else."""
    for pattern, clause in _CAUSES:
        if found := re.search(pattern, said):
            return found.expand(clause).strip()
    return None


def alert(context: ssl.SSLContext, host: str, port: int) -> str:
    """What a server says right after it was greeted, in the words of OpenSSL; nothing where it waits for us to speak.

    In TLS 1.3 a server looks at a client's certificate when the client has begun to speak already, and hangs up: who sends
    meets a closed connection, and only who listens hears why.
    """
    try:
        with (
            socket.create_connection((host, port), LISTEN_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.recv(1)
    except OSError as error:
        return str(error)
    return ""


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(cafile=authority)
    except ssl.SSLError as error:
        raise SettingError(f"FEDKSEED_TLS_CA: {authority}: no certificate in PEM") from error
    except OSError as error:
        raise SettingError(f"FEDKSEED_TLS_CA: {authority}: {error.strerror}") from error


def _present(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    for name, file in (("CERTIFICATE", certificate), ("KEY", key)):
        _readable(f"FEDKSEED_TLS_{name}", file)

    def encrypted() -> str:
        raise SettingError(f"FEDKSEED_TLS_KEY: {key or certificate}: it is encrypted")

    try:
        context.load_cert_chain(certificate, key, encrypted)
    except ssl.SSLError as error:
        what = "key of another certificate" if "MISMATCH" in str(error) else "no certificate and key in PEM"
        raise SettingError(
            f"FEDKSEED_TLS_CERTIFICATE, FEDKSEED_TLS_KEY: {certificate}, {key or certificate}: {what}"
        ) from error


def _readable(variable: str, file: Path | None) -> None:
    """Which of two files it is that cannot be read, OpenSSL does not say."""
    try:
        if file:
            file.open("rb").close()
    except OSError as error:
        raise SettingError(f"{variable}: {file}: {error.strerror}") from error
