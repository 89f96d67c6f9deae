"""SSH keys of approvers, and signatures as ssh-keygen makes them, where it is not installed."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sshsig.binary_io import SshWriter
from sshsig.sshsig import SshsigWrapper, ssh_enarmor_sshsig

needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None,
    reason="no ssh-keygen here: apt-get install openssh-client to run this test",
)


@dataclass(frozen=True)
class Approver:
    """A person with a key."""

    name: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> str:
        public = self.key.public_key()
        return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def line(self, options: str = "") -> str:
        """A line of allowed signers."""
        return " ".join(part for part in (self.name, options, self.public) if part)

    def sign(self, text: str, namespace: str, digest: str = "sha512") -> str:
        """PROTOCOL.sshsig of OpenSSH, Ed25519."""
        hashed = hashlib.new(digest, text.encode()).digest()
        names = {"namespace": namespace.encode(), "hash_algo": digest.encode()}
        signature = self.key.sign(SshsigWrapper(**names, hash=hashed).to_bytes())
        inner, outer = SshWriter(io.BytesIO()), SshWriter(io.BytesIO())
        inner.write_string(b"ssh-ed25519")
        inner.write_string(signature)
        outer.write(b"SSHSIG")
        outer.write_uint32(1)
        outer.write_string(base64.b64decode(self.public.split()[1]))
        outer.write_string(namespace.encode())
        outer.write_string(b"")
        outer.write_string(digest.encode())
        outer.write_string(inner.output_fh.getvalue())
        return ssh_enarmor_sshsig(outer.output_fh.getvalue())


def new_key(folder: Path, name: str, kind: str = "ed25519") -> Path:
    """A private key as `ssh-keygen` makes it; the public one is beside it."""
    path = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(path)], check=True
    )
    return path


def verified_by_ssh_keygen(
    folder: Path, allowed: str, who: str, namespace: str, statement: str, signature: str
) -> bool:
    """What `ssh-keygen -Y verify` says."""
    (folder / "allowed_signers").write_text(allowed)
    (folder / "statement.sig").write_text(signature)
    done = subprocess.run(
        [
            *("ssh-keygen", "-Y", "verify", "-f", str(folder / "allowed_signers"), "-I", who),
            *("-n", namespace, "-s", str(folder / "statement.sig")),
        ],
        input=statement, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0
