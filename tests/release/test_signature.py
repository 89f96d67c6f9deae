"""Signatures of releases: what we write, the standard's own program verifies, and only that."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from components.core.errors import BadInput
from components.core.files import link_tree
from components.release import store as depot
from components.release.integrity.keys import (
    SIGNING_CERTIFICATE,
    SIGNING_KEY,
    SigningKey,
    read_trusted,
    signing_key,
    trusted_key,
)
from components.release.integrity.signature import DOCUMENTS, sign_release, verify_signature
from tests.registry.fabricated_run import fabricate
from tests.release.keys import write_chain, write_pair

PROGRAM = Path(sys.executable).with_name("model_signing")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release's folder with a document in it. Only to be read."""
    run = fabricate(tmp_path_factory.mktemp("run"))
    folder = run.repository.parent / run.release().release
    link_tree(run.repository, folder)
    (folder / DOCUMENTS).mkdir()
    (folder / DOCUMENTS / "model_card.md").write_text("# Card\n")
    return folder


def key_of(pem: Path, monkeypatch: pytest.MonkeyPatch, certificates: str = "") -> SigningKey:
    monkeypatch.setenv(SIGNING_KEY, str(pem))
    monkeypatch.setenv(SIGNING_CERTIFICATE, certificates)
    key = signing_key()
    assert key is not None
    return key


def verify_by_program(mode: str, folder: Path, bundle: Path, *trust: str) -> int:
    command = [str(PROGRAM), "verify", mode, str(folder), "--signature", str(bundle), *trust]
    return subprocess.run(command, capture_output=True, timeout=120).returncode


def test_the_standards_program_verifies_a_signature_by_key(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, bundle = key_of(write_pair(tmp_path, "mine"), monkeypatch), tmp_path / "a.sigstore.json"
    write_pair(tmp_path, "other")
    bundle.write_bytes(sign_release(signed, key))
    mine, other = (("--public_key", str(tmp_path / f"{name}.pub")) for name in ("mine", "other"))
    assert verify_by_program("key", signed, bundle, *mine) == 0
    assert verify_by_program("key", signed, bundle, *other) != 0
    copy = tmp_path / signed.name
    link_tree(signed, copy)
    card = copy / DOCUMENTS / "model_card.md"
    card.unlink()
    card.write_text("# A better card\n")
    assert verify_by_program("key", copy, bundle, *mine) != 0
    with pytest.raises(BadInput, match=r"Hash mismatch for 'documents/model_card.md"):
        verify_signature(copy, bundle.read_bytes(), key.trust)


def test_the_standards_program_verifies_a_signature_by_certificate(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, leaf, root = write_chain(tmp_path, "hospital")
    key, bundle = key_of(pem, monkeypatch, str(leaf)), tmp_path / "a.sigstore.json"
    bundle.write_bytes(sign_release(signed, key))
    chain = "--certificate_chain"
    assert verify_by_program("certificate", signed, bundle, chain, str(root)) == 0
    assert verify_signature(signed, bundle.read_bytes(), read_trusted(root.read_bytes(), root)) == (
        key.fingerprint
    )
    *_, stranger = write_chain(tmp_path, "stranger")
    assert verify_by_program("certificate", signed, bundle, chain, str(stranger)) != 0
    with pytest.raises(BadInput, match="does not hold"):
        verify_signature(signed, bundle.read_bytes(), read_trusted(stranger.read_bytes(), stranger))
    monkeypatch.setenv(SIGNING_CERTIFICATE, str(stranger))
    with pytest.raises(BadInput, match="not the certificate of the signing key"):
        signing_key()


def test_only_the_trusted_key_is_believed(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, address = key_of(write_pair(tmp_path, "mine"), monkeypatch), str(tmp_path / "depot")
    write_pair(tmp_path, "other")
    bundle, documents = sign_release(signed, key), signed / DOCUMENTS
    depot.point(address, depot.push(signed, address, documents, bundle))
    mine, other = (trusted_key(str(tmp_path / f"{name}.pub")) for name in ("mine", "other"))
    unread = depot.fetch(address, tmp_path / "a")
    assert not (unread / DOCUMENTS).exists(), "nobody's documents are taken unread"
    fetched = depot.fetch(address, tmp_path / "a", trusted=mine)
    assert (fetched / DOCUMENTS / "model_card.md").read_text() == "# Card\n"
    with pytest.raises(BadInput, match="Key mismatch"):
        depot.fetch(address, tmp_path / "b", trusted=other)
    assert not (tmp_path / "b" / signed.name).exists()
    place = tmp_path / "depot" / "releases" / f"{signed.name}.sigstore.json"
    for spoilt in (b"{}", b"\x00", bundle.replace(b'"payload": "ew', b'"payload": "eW')):
        place.write_bytes(spoilt)
        with pytest.raises(BadInput, match=r"not a signature|does not hold"):
            depot.fetch(address, tmp_path / "c", trusted=mine)
    place.unlink()
    with pytest.raises(BadInput, match="not signed"):
        depot.fetch(address, tmp_path / "d", trusted=mine)


def test_releases_of_old_are_verified_by_their_ed25519_key(signed: Path, tmp_path: Path) -> None:
    address, manifest = str(tmp_path / "depot"), (signed / "release.json").read_bytes()
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    depot.point(address, depot.push(signed, address))
    content = {
        "algorithm": "Ed25519",
        "public_key": base64.b64encode(keys[0].public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(keys[0].sign(manifest)).decode(),
    }
    (tmp_path / "depot" / "releases" / f"{signed.name}.sig").write_text(json.dumps(content))
    right, wrong = (
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in keys
    )
    depot.fetch(address, tmp_path / "a", trusted=trusted_key(right))
    with pytest.raises(BadInput, match="not by the trusted key"):
        depot.fetch(address, tmp_path / "b", trusted=trusted_key(wrong))
    content["signature"] = base64.b64encode(keys[0].sign(manifest + b" ")).decode()
    (tmp_path / "depot" / "releases" / f"{signed.name}.sig").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="does not hold"):
        depot.fetch(address, tmp_path / "c", trusted=trusted_key(right))


def test_a_fingerprint_is_the_sha256_of_the_public_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(write_pair(tmp_path, "mine"), monkeypatch)
    done = subprocess.run(
        ["sha256sum", str(tmp_path / "mine.pub")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == key.fingerprint
    monkeypatch.setenv(SIGNING_KEY, (tmp_path / "mine.pem").read_text())
    given = signing_key()
    assert given is not None
    assert given.fingerprint == key.fingerprint, "as PEM or as a path"


@pytest.mark.parametrize("value", ["/nowhere.pem", "-----BEGIN PRIVATE KEY-----\nx\n"])
def test_a_key_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIGNING_KEY, value)
    with pytest.raises(BadInput, match=SIGNING_KEY):
        signing_key()
    assert os.environ[SIGNING_KEY] == value


def test_keys_of_other_kinds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pair(tmp_path, "old", Ed25519PrivateKey.generate())
    monkeypatch.setenv(SIGNING_KEY, str(path))
    with pytest.raises(BadInput, match="not an EC key on P-256"):
        signing_key()


def test_the_command_line_starts_without_the_library() -> None:
    script = (
        "import sys; import pipelines.cli, components.release.store;"
        "assert not {'model_signing', 'sigstore', 'cyclonedx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
