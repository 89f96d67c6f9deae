"""The key that signs here, the key or certificate that is trusted here, and their fingerprints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SIGNING_KEY = "GLIOFLOW_SIGNING_KEY"
"""Environment variable: EC private key that signs, as PEM or as the path of a PEM file."""

SIGNING_CERTIFICATE = "GLIOFLOW_SIGNING_CERTIFICATE"
"""Environment variable: the key's certificate and those above it (PEM, or its path), leaf first."""

TRUSTED_KEY = "GLIOFLOW_TRUSTED_KEY"
"""Environment variable: public key, or root certificates (PEM, or its path), that are trusted."""

CURVES = ("secp256r1", "secp384r1", "secp521r1")
_NEW_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"


@dataclass(frozen=True)
class SigningKey:
    """A private key, and its certificates (PEM, leaf first; empty: none)."""

    private: EllipticCurvePrivateKey
    certificates: bytes = b""

    @property
    def fingerprint(self) -> str:
        """See `fingerprint`."""
        return fingerprint(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """ECDSA as RFC 6979 has it: the same message always has the same signature (DER).

        So publishing a run again, or twice at once, writes the same files.
        """
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        size = self.private.curve.key_size
        digests = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
        return self.private.sign(message, ECDSA(digests[size], deterministic_signing=True))

    @property
    def trust(self) -> TrustedKey:
        """What verifies, but for a root of its certificates: them, or the public key."""
        if self.certificates:
            return TrustedKey(self.certificates, "certificate", self.fingerprint)
        return TrustedKey(_public_pem(self.private.public_key()), "key", self.fingerprint)


@dataclass(frozen=True)
class TrustedKey:
    """What a signature must go back to.

    Attributes:
        pem: a public key, or root certificates.
        kind: "key", "certificate", or "ed25519", which only releases of old were signed with.
        fingerprint: of the key, or of the first certificate's key.
    """

    pem: bytes
    kind: str
    fingerprint: str


def fingerprint(key: Any) -> str:
    """sha256 (hex) of a public key's PEM: what `sha256sum PUBLIC.pem` prints.

    Model signatures hold it as the key's hint. For Ed25519 the sha256 of its 32 bytes.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else _public_pem(key)
    return hashlib.sha256(raw).hexdigest()


def public_key(trusted: TrustedKey) -> Any:
    """The key that a PEM holds: itself, or its first certificate's."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificates

    if trusted.kind == "certificate":
        return load_pem_x509_certificates(trusted.pem)[0].public_key()
    return load_pem_public_key(trusted.pem)


def signing_key() -> SigningKey | None:
    """The key that this process signs with; None where none is set.

    Raises BadInput: no EC key on a curve of CURVES, or a certificate that is not the key's.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    key = _read(
        os.environ.get(SIGNING_KEY, ""), SIGNING_KEY, lambda p: load_pem_private_key(p, None)
    )
    if key is None:
        return None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise BadInput(SIGNING_KEY, "not an EC key on P-256, P-384 or P-521", _NEW_KEY)
    value = os.environ.get(SIGNING_CERTIFICATE, "")
    chain = _read(value, SIGNING_CERTIFICATE, load_pem_x509_certificates)
    if chain is None:
        return SigningKey(key)
    if chain[0].public_key() != key.public_key():
        remedy = "give the key's own certificate first, then those above it"
        raise BadInput(SIGNING_CERTIFICATE, "not the certificate of the signing key", remedy)
    return SigningKey(key, _content(value, SIGNING_CERTIFICATE))


def trusted_key(reference: str = "") -> TrustedKey | None:
    """What `reference` (PEM or its path) or TRUSTED_KEY trusts; None where neither is set.

    Raises BadInput: no public key (EC, or Ed25519 for releases of old), and no certificate.
    """
    name, value = reference or TRUSTED_KEY, reference or os.environ.get(TRUSTED_KEY, "")
    return read_trusted(_content(value, name), name) if value else None


def read_trusted(pem: bytes, name: object) -> TrustedKey:
    """A public key or certificates of PEM. Raises BadInput naming `name`."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificates

    if b"BEGIN CERTIFICATE" in pem:
        key = _parsed(pem, name, load_pem_x509_certificates)[0].public_key()
        return TrustedKey(pem, "certificate", fingerprint(key))
    key = _parsed(pem, name, load_pem_public_key)
    if isinstance(key, Ed25519PublicKey):
        return TrustedKey(pem, "ed25519", fingerprint(key))
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise BadInput(name, "not an EC key on P-256, P-384 or P-521", "openssl pkey -pubout")
    return TrustedKey(_public_pem(key), "key", fingerprint(key))


def _public_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def _read(value: str, name: str, parse: Callable[[bytes], Any]) -> Any:
    """What `parse` makes of a PEM or its path; None for ""."""
    return _parsed(_content(value, name), name, parse) if value else None


def _content(value: str, name: str) -> bytes:
    if value.lstrip().startswith("-----BEGIN"):
        return value.encode()
    if not Path(value).is_file():
        raise BadInput(name, "neither a PEM nor the path of one", "give a PEM file")
    return Path(value).read_bytes()


def _parsed(pem: bytes, name: object, parse: Callable[[bytes], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return parse(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadInput(name, "not a readable PEM without a password", "give another") from None
