"""A real DICOM server for tests: Orthanc with its DICOMweb plug-in, from Debian's packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from dicomweb_client import DICOMwebClient

from serving.pacs.gateway.settings import DicomNode, DicomWeb
from tests.registry.servers import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = "Orthanc is missing: apt-get install orthanc orthanc-dicomweb"
_START_S = 60.0


@dataclass(frozen=True)
class Orthanc:
    """One that runs."""

    http: int
    dicom: int

    @property
    def web(self) -> DicomWeb:
        return DicomWeb(url=f"http://127.0.0.1:{self.http}/dicom-web")

    @property
    def node(self) -> DicomNode:
        return DicomNode(ae_title="ORTHANC", host="127.0.0.1", port=self.dicom)

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.web.url)


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start one with an empty archive; skips the test where it is not installed."""
    if shutil.which("Orthanc") is None or not PLUGIN.is_file():
        pytest.skip(MISSING)
    made = Orthanc(free_port(), free_port())
    settings = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)], "HttpPort": made.http, "DicomPort": made.dicom,
        "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True, "DicomServerEnabled": True, "SynchronousCMove": True,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        ["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait(made, process)
        yield made
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait(made: Orthanc, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{made.http}/system", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise RuntimeError("Orthanc did not start")
