"""What an ingress does before Triton: TLS, client certificates, a bearer token; bytes untouched."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LARGEST = ("grpc.max_receive_message_length", -1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that signs for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        own = self._build(self._name, self._key.public_key(), ca=True)
        self.certificates = folder / f"{name}.pem"
        self.certificates.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str) -> Identity:
        """A certificate for localhost in this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._build(_name(name), key.public_key(), ca=False)
        identity = Identity(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        identity.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return identity

    def _build(self, subject: x509.Name, key: Any, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@contextmanager
def ingress(
    behind: str, identity: Identity, *, clients: Authority | None, token: str
) -> Iterator[str]:
    """A TLS endpoint before the plain one at `behind`; yields its HOST:PORT.

    Args:
        clients: demand certificates that this authority signed.
        token: refuse requests whose authorization is not "Bearer" and this.
    """
    credentials = grpc.ssl_server_credentials(
        [(identity.key.read_bytes(), identity.certificate.read_bytes())],
        root_certificates=clients.certificates.read_bytes() if clients else None,
        require_client_auth=clients is not None,
    )
    server = grpc.server(ThreadPoolExecutor(4), options=[LARGEST])
    port = server.add_secure_port("localhost:0", credentials)
    with grpc.insecure_channel(behind, options=[LARGEST]) as channel:
        server.add_generic_rpc_handlers((_Forwarder(channel, token),))
        server.start()
        yield f"localhost:{port}"
        server.stop(None).wait()


class _Forwarder(grpc.GenericRpcHandler):
    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._channel, self._token = channel, token

    def service(self, call: Any) -> Any:
        metadata = dict(call.invocation_metadata)

        def forward(request: bytes, context: grpc.ServicerContext) -> bytes:
            if metadata.get("authorization") != f"Bearer {self._token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no valid token")
            return self._channel.unary_unary(call.method)(request)

        return grpc.unary_unary_rpc_method_handler(forward)
