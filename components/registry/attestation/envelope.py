"""DSSE envelopes (github.com/secure-systems-lab/dsse) around in-toto statements."""

from __future__ import annotations

import json
from typing import Any

from components.core.errors import BadInput
from components.release.integrity.keys import SigningKey, TrustedKey, public_key

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def seal(statement: dict[str, Any], key: SigningKey | None) -> bytes:
    """An envelope as JSON, signed by `key`; without one its list of signatures is empty."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signature

    payload = json.dumps(statement, indent=2, sort_keys=True, allow_nan=False).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    if key is not None:
        signature = Signature(key.fingerprint, key.sign(envelope.pae()).hex())
        envelope.signatures[key.fingerprint] = signature
    return (json.dumps(envelope.to_dict(), indent=2) + "\n").encode()


def unseal(name: str, envelope: bytes, signer: TrustedKey | None) -> dict[str, Any]:
    """The statement in an envelope, verified by `signer`'s key where there is one.

    Raises BadInput naming `name`: no envelope of a statement, or not signed by that key.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    try:
        read = Envelope.from_dict(json.loads(envelope))
        if read.payload_type != PAYLOAD_TYPE:
            raise BadInput(name, f"of type {read.payload_type}", "restore the attestation")
        if signer is not None:
            key = SSlibKey.from_crypto(public_key(signer), keyid=signer.fingerprint)
            read.verify([key], threshold=1)
        statement: dict[str, Any] = json.loads(read.payload)
    except VerificationError:
        raise BadInput(name, "not signed by the release's key", "restore it") from None
    except (ValueError, LookupError, TypeError):
        raise BadInput(name, "no DSSE envelope of a statement", "restore it") from None
    return statement
