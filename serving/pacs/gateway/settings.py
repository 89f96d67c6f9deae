"""What a hospital sets of its gateway: one YAML file."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from components.core.errors import BadInput
from components.core.settings import Document

AE_TITLE = r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?"
"""Up to 16 characters of ASCII without a backslash, no space at either end (PS3.5, VR AE)."""


class TlsFiles(Document):
    """Files (PEM) of one side of an encrypted connection.

    Attributes:
        certificate, key: who this side is.
        authorities: whose certificates are accepted of the other side; of a server's clients, one
            is then required.
    """

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give certificate and key, or neither")
        return self

    def server_context(self) -> ssl.SSLContext:
        """For who listens."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        if self.authorities:
            context.load_verify_locations(self.authorities)
            context.verify_mode = ssl.CERT_REQUIRED
        return self._with_identity(context)

    def client_context(self) -> ssl.SSLContext:
        """For who calls; the system's authorities where none are named."""
        cafile = str(self.authorities) if self.authorities else None
        return self._with_identity(ssl.create_default_context(cafile=cafile))

    def _with_identity(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


class Caller(Document):
    """Who may send: an AE title, from any of these addresses (or networks, 10.1.0.0/16)."""

    ae_title: str = Field(pattern=f"^{AE_TITLE}$")
    addresses: tuple[str, ...] = Field(min_length=1)

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            ipaddress.ip_network(address, strict=False)
        return value

    def is_it(self, ae_title: str, address: str) -> bool:
        """Whether an association comes from this caller."""
        try:
            host = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        host = getattr(host, "ipv4_mapped", None) or host
        networks = [ipaddress.ip_network(each, strict=False) for each in self.addresses]
        return ae_title.strip() == self.ae_title and any(host in network for network in networks)


class Listen(Document):
    """The DICOM node that receives (C-STORE, C-ECHO); callers that are not listed are rejected."""

    ae_title: str = Field(default="GLIOFLOW", pattern=f"^{AE_TITLE}$")
    host: str = "0.0.0.0"  # noqa: S104
    port: int = Field(default=11112, ge=1, le=65535)
    callers: tuple[Caller, ...] = Field(min_length=1)
    tls: TlsFiles | None = None


class DicomNode(Document):
    """A DICOM node that answers are sent to."""

    ae_title: str = Field(pattern=f"^{AE_TITLE}$")
    host: str
    port: int = Field(ge=1, le=65535)
    calling_ae_title: str = Field(default="GLIOFLOW", pattern=f"^{AE_TITLE}$")
    tls: TlsFiles | None = None


class DicomWeb(Document):
    """A DICOMweb server.

    Attributes:
        url: root of QIDO-RS, WADO-RS and STOW-RS.
        token_file: holds the bearer token; read anew for each round, so that it may be changed.
    """

    url: str = Field(pattern=r"^https?://[^/@]+(/.*)?$")
    token_file: Path | None = None
    tls: TlsFiles = TlsFiles()

    @model_validator(mode="after")
    def _no_token_in_clear(self) -> Self:
        if self.token_file and not self.url.startswith("https://"):
            raise ValueError("a token would travel unencrypted; give an https:// url")
        return self


class Poll(Document):
    """Look for studies by QIDO-RS.

    Attributes:
        every_s: seconds between two looks.
        days: how many days back the study date may lie.
    """

    server: DicomWeb
    every_s: float = Field(default=60.0, gt=0)
    days: int = Field(default=2, ge=1)


class TritonServer(Document):
    """The server that answers (gRPC)."""

    address: str = "localhost:8001"
    encrypted: bool = False
    tls: TlsFiles = TlsFiles()
    token_file: Path | None = None
    deadline_s: float = Field(default=900.0, gt=0)


class GatewaySettings(Document):
    """One gateway.

    Attributes:
        folder: images, answers and state; nobody but the gateway may read it.
        listen, poll: where studies come from; one of them at least.
        send, store: where answers go: a DICOM node (C-STORE) or DICOMweb (STOW-RS).
        quiet_s: seconds without a new image after which a study is taken for whole.
        spool_mb: most that images and answers may take on the disk, MiB.
        keep_h: hours that a finished study stays on the disk.
        metrics_host, metrics_port: where Prometheus reads; port 0 for nowhere.
    """

    folder: Path
    listen: Listen | None = None
    poll: Poll | None = None
    triton: TritonServer = TritonServer()
    send: DicomNode | None = None
    store: DicomWeb | None = None
    quiet_s: float = Field(default=60.0, ge=0)
    spool_mb: int = Field(default=20_000, ge=1)
    keep_h: float = Field(default=72.0, ge=0)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9108, ge=0, le=65535)

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        if self.listen is None and self.poll is None:
            raise ValueError("nowhere to take studies from: give listen or poll")
        if (self.send is None) == (self.store is None):
            raise ValueError("give one place for answers: send (DICOM) or store (DICOMweb)")
        return self


def read_settings(path: Path) -> GatewaySettings:
    """Read a gateway's YAML file. Raises BadInput: missing, or not one; names the first fault."""
    remedy = "see docs/pacs.md"
    try:
        return GatewaySettings.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise BadInput(path, error.strerror or "not readable", remedy) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BadInput(path, "no YAML file", remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise BadInput(path, f"{where}: {first['msg']}", remedy) from None


def read_token(path: Path | None) -> str:
    """A token from its file; empty without one. Raises BadInput: it cannot be read."""
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadInput(path, error.strerror or "not readable", "mount the token there") from None
