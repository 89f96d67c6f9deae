"""One time-stamp as RFC 3161 has it: asked for over HTTP, verified against a root."""

from __future__ import annotations

import hashlib
from datetime import datetime

from components.core.errors import BadInput, Outage

_TIMEOUT_S = 30.0
_MEDIA_TYPE = "application/timestamp-query"
_SHA256 = "2.16.840.1.101.3.4.2.1"


def request_timestamp(authority: str, content: bytes) -> bytes:
    """The authority's answer (TimeStampResp, DER) to the sha256 of `content`.

    Raises:
        Outage: the authority does not answer, or not with a time-stamp.
        BadInput: what it stamped is something else.
    """
    import requests
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

    builder = TimestampRequestBuilder().data(content).hash_algorithm(HashAlgorithm.SHA256)
    request = builder.build()
    remedy = "check its address, and try again"
    try:
        headers = {"Content-Type": _MEDIA_TYPE}
        answer = requests.post(
            authority, data=request.as_bytes(), headers=headers, timeout=_TIMEOUT_S
        )
        answer.raise_for_status()
        response = decode_timestamp_response(answer.content)
        if response.status not in (0, 1):
            raise ValueError(f"it refused with status {response.status}")
        nonce = response.tst_info.nonce
    except (requests.RequestException, ValueError) as error:
        raise Outage(authority, f"no time-stamp from there ({error})", remedy) from None
    _same_digest(authority, response, hashlib.sha256(content).hexdigest())
    if nonce != request.nonce:
        raise BadInput(authority, "answered another request", remedy)
    return answer.content


def verify_timestamp(name: object, token: bytes, sha256: str, roots: bytes) -> datetime:
    """When an authority below one of `roots` (PEM) saw the sha256 (hex); UTC.

    Raises BadInput naming `name`: no time-stamp, of something else, or by another authority.
    """
    from cryptography.x509 import load_pem_x509_certificates
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    try:
        response = decode_timestamp_response(token)
        when: datetime = response.tst_info.gen_time
        verifier = VerifierBuilder()
        for root in load_pem_x509_certificates(roots):
            verifier = verifier.add_root_certificate(root)
        _same_digest(name, response, sha256)
        verifier.build().verify(response, bytes.fromhex(sha256))
    except (VerificationError, ValueError, AssertionError) as error:
        why = str(error) or "no certificate of its authority"
        remedy = "restore it, or name the authority's root"
        raise BadInput(name, f"this time-stamp does not hold ({why})", remedy) from None
    return when


def _same_digest(name: object, response: object, sha256: str) -> None:
    imprint = response.tst_info.message_imprint  # type: ignore[attr-defined]
    if imprint.hash_algorithm.dotted_string != _SHA256 or imprint.message.hex() != sha256:
        raise BadInput(name, "stamped something else than the ledger's entry", "restore it")
