"""Reader of the signatures that releases had before OpenSSF Model Signing: Ed25519, one document.

A JSON file {"algorithm", "public_key", "signature"} (base64), over release.json alone.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from components.core.errors import BadInput
from components.release.integrity.keys import fingerprint
from components.release.manifest import RELEASE_FILE

OLD_SIGNATURE_FILE = "release.json.sig"


def old_signer(document: bytes, signature: bytes) -> str:
    """Fingerprint of the key that signed `document`.

    Raises BadInput: a signature that is none, or not of these bytes.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        content: dict[str, Any] = json.loads(signature)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(content["public_key"]))
        key.verify(base64.b64decode(content["signature"]), document)
    except (InvalidSignature, ValueError, KeyError, TypeError):
        raise BadInput(
            RELEASE_FILE, "its signature does not hold", "do not use it; publish it again"
        ) from None
    return fingerprint(key)
