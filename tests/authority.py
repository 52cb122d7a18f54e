"""A certificate authority of a test's own, and what it certifies: servers and clients, good ones and bad ones."""

import datetime as dt
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedkseed.tls import Tls
from fedkseed_local.servers import LOOPBACK

DAY = dt.timedelta(days=1)
USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


@dataclass(frozen=True)
class Certified:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates.

    Args:
        folder: for its files; made if it is missing.
        name: of the authority.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._name, self._key = folder, named(name), ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        own = _begun(self._name, self._name, self._key, end=DAY)
        self._certificate = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.file.write_bytes(self._certificate.public_bytes(PEM))

    def certify(
        self,
        name: str,
        *,
        address: str = LOOPBACK,
        end: dt.timedelta = DAY,
        password: bytes | None = None,
        usages: Iterable[str] = (),
    ) -> Certified:
        """A certificate for a name and an address of this machine, valid from two days ago to some time from now.

        It does for servers and clients, or for the usages that are given, as cert-manager calls them.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))])
        certificate = _begun(named(name), self._name, key, end=end).add_extension(names, critical=False)
        if usages:
            certificate = certificate.add_extension(x509.ExtendedKeyUsage([USAGES[usage] for usage in usages]), critical=False)
        made = Certified(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        made.certificate.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        made.key.write_bytes(key.private_bytes(PEM, PKCS8, hidden))
        return made

    def tls(self, who: Certified | None = None) -> Tls:
        """How to connect to servers of this authority, with a certificate or without."""
        return Tls(authority=self.file, certificate=who and who.certificate, key=who and who.key)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, end: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + end)
    )
