"""Certificates for servers on 127.0.0.1 and their clients, from an authority of the tests' own."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form.

    Attributes
    ----------
    authority
        What clients trust.
    server, client
        Certificate and key, signed by the authority.
    """

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]

    def context(self, *, wants_client: bool = False) -> ssl.SSLContext:
        """Return what a server serves TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server)
        if wants_client:
            context.load_verify_locations(self.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and what it signs."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("tests")
    authority = folder / "authority.pem"
    certificate = _builder(name, name, key).add_extension(x509.BasicConstraints(True, 0), True)
    authority.write_bytes(certificate.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return Certificates(
        authority,
        _issue(folder / "server", name, key),
        _issue(folder / "client", name, key),
    )


def _issue(
    path: Path, issuer: x509.Name, authority: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        _builder(_name(path.name), issuer, key)
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .sign(authority, hashes.SHA256())
    )
    files = path.with_suffix(".pem"), path.with_suffix(".key")
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
