"""Who exported a release: an Ed25519 signature over its release.json, which names every digest."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput
from components.release.manifest import RELEASE_FILE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNING_KEY = "GLIOFLOW_SIGNING_KEY"
"""Environment variable: Ed25519 private key that signs, as PEM or as the path of a PEM file."""

TRUSTED_KEY = "GLIOFLOW_TRUSTED_KEY"
"""Environment variable: public key (PEM, or its path) that must have signed what is read."""

SIGNATURE_FILE = "release.json.sig"
ALGORITHM = "Ed25519"


def signing_key() -> Ed25519PrivateKey | None:
    """The key that this process signs with; None where none is set. Raises BadInput: no such."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def load(pem: bytes) -> Any:
        return load_pem_private_key(pem, None)

    how = "openssl genpkey -algorithm ed25519"
    return _key(os.environ.get(SIGNING_KEY, ""), SIGNING_KEY, load, Ed25519PrivateKey, how)


def trusted_key(reference: str = "") -> Ed25519PublicKey | None:
    """The public key in `reference` (PEM or its path) or TRUSTED_KEY; None where neither is set."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    value, how = reference or os.environ.get(TRUSTED_KEY, ""), "openssl pkey -in KEY -pubout"
    return _key(value, reference or TRUSTED_KEY, load_pem_public_key, Ed25519PublicKey, how)


def sign(document: bytes, key: Ed25519PrivateKey) -> bytes:
    """A signature as JSON: {"algorithm", "public_key", "signature"}, base64; always the same."""
    content = {
        "algorithm": ALGORITHM,
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(key.sign(document)).decode(),
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def fingerprint(key: Ed25519PublicKey) -> str:
    """sha256 (hex) of a public key's 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def signer(document: bytes, signature: bytes | None) -> str:
    """Fingerprint of the key that signed `document`; "" where nothing did.

    Raises BadInput: a signature that is none, or not of these bytes.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature is None:
        return ""
    try:
        content: dict[str, Any] = json.loads(signature)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(content["public_key"]))
        key.verify(base64.b64decode(content["signature"]), document)
    except (InvalidSignature, ValueError, KeyError, TypeError):
        raise BadInput(
            RELEASE_FILE, "its signature does not hold", "do not use it; publish it again"
        ) from None
    return fingerprint(key)


def demand(document: bytes, signature: bytes | None, trusted: Ed25519PublicKey | None) -> str:
    """As `signer`, and by the trusted key where there is one. Raises BadInput otherwise."""
    found = signer(document, signature)
    if trusted is not None and found != fingerprint(trusted):
        who = f"signed by key {found[:16]}" if found else "not signed"
        raise BadInput(RELEASE_FILE, f"{who}, not by the trusted key", "do not use it")
    return found


def _key(value: str, name: str, load: Callable[[bytes], Any], kind: type, how: str) -> Any:
    """The key of a PEM or its path; None for "". `how` tells how to make one of its kind."""
    if not value:
        return None
    inline = value.lstrip().startswith("-----BEGIN")
    if not (inline or Path(value).is_file()):
        raise BadInput(name, "neither a PEM nor the path of one", "give a PEM file")
    try:
        key = load(value.encode() if inline else Path(value).read_bytes())
    except (ValueError, TypeError):
        raise BadInput(name, "not a readable PEM key without a password", "give another") from None
    if not isinstance(key, kind):
        raise BadInput(name, f"not an {ALGORITHM} key", how)
    return key
