"""What stands around a gateway in tests: studies, an archive, a server of known answers."""

from __future__ import annotations

import io
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from prometheus_client import CollectorRegistry
from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt

from components.core.vocabulary import Status
from serving.client.glioflow_client.images import ImagesAnswer
from serving.pacs.files import SEGMENTATION_FILE
from serving.pacs.gateway.metrics import Counted
from serving.pacs.gateway.send import send
from serving.pacs.gateway.settings import DicomNode
from serving.pacs.gateway.spool import Spool
from serving.pacs.gateway.state import GatewayState
from serving.pacs.gateway.work import Worker
from serving.report.files import write_dicom_mask
from tests.cohort.dicom_writer import FLAIR, T1, T1C, T2, datasets, phantom
from tests.serving.pacs.answers import RELEASE, mask_of, said

SERIES: dict[str, dict[str, Any]] = {"t1": T1, "t1c": T1C, "t2": T2, "flair": FLAIR}
"""Series of a study; the first is one that no model reads."""


def study(
    patient: str = "MRN-4711", number: str = "1", only: str = "t1 t1c t2 flair"
) -> list[Dataset]:
    """Images of a study's series."""
    made = []
    for seed, name in enumerate(SERIES):
        if name in only.split():
            image = phantom(seed, (16, 20, 18))
            made.extend(datasets(image, SERIES[name], patient=patient, study=number))
    return made


def as_file(item: Dataset) -> bytes:
    """An image as a file's bytes."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = item.SOPClassUID
    meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item.file_meta = meta
    stream = io.BytesIO()
    item.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def as_sent(items: list[Dataset]) -> list[Dataset]:
    """Images as an SCU reads them from files."""
    return [pydicom.dcmread(io.BytesIO(as_file(item))) for item in items]


@dataclass
class KnownServer:
    """Answers every series with the box of `mask_of`, as the Triton server would word it.

    Attributes:
        asked: ages, one a request.
        trouble: raised instead, as long as there is any.
    """

    reads: tuple[str, ...] = ("t1c", "t2", "flair", "age")
    asked: list[float] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)

    def inputs(self) -> tuple[str, ...]:
        return self.reads

    def predict(self, *, age: float, **files: bytes | None) -> ImagesAnswer:
        if self.trouble:
            raise self.trouble.pop(0)
        self.asked.append(age)
        with tempfile.TemporaryDirectory() as scratch:
            folder, series = Path(scratch), Path(scratch) / "t1c"
            with zipfile.ZipFile(io.BytesIO(files["t1c"] or b"")) as archive:
                archive.extractall(series)
            mask = mask_of(series)
            write_dicom_mask(folder, RELEASE, series, mask)
            result = said(series, Status.OK).content()
            return ImagesAnswer(result, b"", (folder / SEGMENTATION_FILE).read_bytes(), b"")


@dataclass
class Archive:
    """A DICOM node that keeps what it is sent, as a PACS does: an object it has is the same object.

    Attributes:
        kept: SOP instance UID -> object.
        refusals: status codes to answer with before it takes anything.
    """

    port: int = 0
    kept: dict[str, Dataset] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, event: evt.Event) -> int:
        if self.refusals:
            return self.refusals.pop(0)
        item = event.dataset
        item.file_meta = event.file_meta
        with self.lock:
            self.kept[item.SOPInstanceUID] = item
        return 0

    def kinds(self) -> list[str]:
        return sorted(item.Modality for item in self.kept.values())

    @property
    def node(self) -> DicomNode:
        return DicomNode(ae_title="ARCHIVE", host="127.0.0.1", port=self.port)


@contextmanager
def archive(**tls: Any) -> Iterator[Archive]:
    """One that listens."""
    made, entity = Archive(), AE(ae_title="ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, made.store)], **tls
    )
    made.port = server.server_address[1]  # type: ignore[union-attr]
    try:
        yield made
    finally:
        server.shutdown()  # type: ignore[union-attr]


@dataclass
class Clock:
    """Seconds since 1970, as the test says."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A gateway without its threads: images are put in, steps taken by hand, time by the clock."""

    folder: Path
    archive: Archive
    clock: Clock = field(default_factory=Clock)
    server: KnownServer = field(default_factory=KnownServer)
    limit_mb: int = 100

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.open()

    def open(self) -> None:
        """As a process that starts."""
        self.counted = Counted(CollectorRegistry())
        self.state = GatewayState(self.folder / "gateway.sqlite", self.clock)
        self.spool = Spool(self.folder, self.state, self.limit_mb, quiet_s=60.0)
        self.worker = Worker(self.state, self.spool, self.server, self._store, self.counted)

    def _store(self, _: str, objects: list[Dataset]) -> None:
        send(self.archive.node, objects)

    def receive(self, items: list[Dataset]) -> int:
        """Keep images; how many were new."""
        return sum(
            self.spool.store(i.StudyInstanceUID, i.SOPInstanceUID, as_file(i)) for i in items
        )

    def run(self, seconds: float = 61.0) -> int:
        """Let time pass and work until nothing is due; how many studies were worked on."""
        self.clock.now += seconds
        count = 0
        while self.worker.step():
            count += 1
        return count

    def phases(self) -> list[str]:
        return [study.phase.value for study in self.state.studies()]


def by_modality(kept: Mapping[str, Dataset]) -> dict[str, list[Dataset]]:
    """Objects by their Modality."""
    found: dict[str, list[Dataset]] = {}
    for item in kept.values():
        found.setdefault(item.Modality, []).append(item)
    return found
