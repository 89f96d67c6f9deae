"""Who published a release: OpenSSF Model Signing over its files and its documents.

A release's folder as it is signed and served:

    release.json, segmenter/, ...   as exported; release.json names each by its sha256
    documents/                      model card, report, evaluation, bill of materials

The signature is a Sigstore bundle (JSON) beside the folder. `model_signing verify key` reads it,
or `model_signing verify certificate` where a certificate was given.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path

from components.core.errors import BadInput
from components.release.integrity.keys import SigningKey, TrustedKey

SIGNATURE_FILE = "release.sigstore.json"
SIGNER_FILE = "signer.pem"
"""What verifies the signature: the public key, or the certificates, of who signed."""

DOCUMENTS = "documents"
_REMEDY = "do not use it; publish it again"


def sign_release(folder: Path, key: SigningKey) -> bytes:
    """A Sigstore bundle over every file of `folder`; the folder's name is the subject's."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from model_signing import hashing, signing

    with tempfile.TemporaryDirectory() as private:
        # The library reads keys from files; this folder is its owner's alone.
        place = Path(private)
        pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (place / "key.pem").write_bytes(pem)
        # Every file: by default the library leaves out git's, in an order that varies.
        files = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
        config = signing.Config().set_hashing_config(files)
        if key.certificates:
            leaf, *above = _split(key.certificates, place)
            config.use_certificate_signer(
                private_key=place / "key.pem",
                signing_certificate=leaf,
                # The library refuses an empty chain.
                certificate_chain=above or [leaf],
            )
        else:
            config.use_elliptic_key_signer(private_key=place / "key.pem")
        config.sign(folder, place / SIGNATURE_FILE)
        return _repeatable((place / SIGNATURE_FILE).read_bytes(), key)


def _repeatable(bundle: bytes, key: SigningKey) -> bytes:
    """The same bundle with its keys in order and a signature that does not depend on chance."""
    from securesystemslib.dsse import Envelope

    content = json.loads(bundle)
    envelope = content["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    payload = json.dumps(statement, indent=2, sort_keys=True).encode()
    signature = key.sign(Envelope(payload, envelope["payloadType"], {}).pae())
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(content, sort_keys=True).encode()


def verify_signature(folder: Path, bundle: bytes | None, trusted: TrustedKey) -> str:
    """Check that `trusted` signed exactly the files of `folder`.

    Returns the fingerprint of the key that signed.

    Raises BadInput: not signed, by another key, or a file that is altered, missing or unsigned.
    """
    from model_signing import verifying

    if bundle is None:
        raise BadInput(folder.name, "not signed, and a trusted key was given", _REMEDY)
    if trusted.kind == "ed25519":
        raise BadInput(folder.name, "not signed by the trusted Ed25519 key", "give an EC key")
    with tempfile.TemporaryDirectory() as scratch:
        signature, pem = Path(scratch) / SIGNATURE_FILE, Path(scratch) / "trusted.pem"
        signature.write_bytes(bundle)
        pem.write_bytes(trusted.pem)
        config = verifying.Config()
        try:
            if trusted.kind == "certificate":
                config.use_certificate_verifier(certificate_chain=[pem])
            else:
                config.use_elliptic_key_verifier(public_key=pem)
            config.verify(folder, signature)
        except Exception as error:
            # What is wrong shows in the bundle's parser, the verifier, or OpenSSL.
            # The library prints a list of differences, and digests as bytes.
            why = re.sub(r"[\[\]\"\\]", "", str(error).partition(": Expected")[0]).strip(" .")
            why = why or type(error).__name__
            raise BadInput(folder.name, f"its signature does not hold ({why})", _REMEDY) from None
    return _named_signer(bundle)


def signed_documents(bundle: bytes) -> dict[str, str]:
    """Documents that a bundle names, path in the release -> sha256 (hex). Verifies nothing.

    Raises BadInput: no bundle.
    """
    try:
        payload = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
        named = {item["name"]: item["digest"] for item in payload["predicate"]["resources"]}
    except (ValueError, LookupError, TypeError):
        raise BadInput(SIGNATURE_FILE, "not a signature of a release", _REMEDY) from None
    return {name: digest for name, digest in named.items() if name.startswith(f"{DOCUMENTS}/")}


def _named_signer(bundle: bytes) -> str:
    """Fingerprint in a bundle that was verified: the hint, or the first certificate's key."""
    from cryptography.x509 import load_der_x509_certificate

    from components.release.integrity.keys import fingerprint

    material = json.loads(bundle)["verificationMaterial"]
    if "publicKey" in material:
        return str(material["publicKey"]["hint"])
    leaf = material["x509CertificateChain"]["certificates"][0]["rawBytes"]
    return fingerprint(load_der_x509_certificate(base64.b64decode(leaf)).public_key())


def _split(certificates: bytes, folder: Path) -> list[Path]:
    """Each certificate of a PEM in a file of its own."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    paths = []
    for number, certificate in enumerate(load_pem_x509_certificates(certificates)):
        paths.append(folder / f"certificate-{number}.pem")
        paths[-1].write_bytes(certificate.public_bytes(Encoding.PEM))
    return paths
