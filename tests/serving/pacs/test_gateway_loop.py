"""The whole loop: a study, the gateway, a real Triton server, and answers in an archive."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.seg import Segmentation
from highdicom.sr import srread
from pydicom.sr.codedict import codes

from components.cohort.images import read_image
from components.release.inference.local_release import LocalRelease
from serving.pacs.gateway.dicomweb import stow
from serving.pacs.gateway.send import send
from serving.pacs.gateway.service import gateway, work
from serving.pacs.gateway.settings import (
    Caller,
    DicomNode,
    GatewaySettings,
    Listen,
    Poll,
    TritonServer,
)
from serving.pacs.gateway.state import Phase
from serving.pacs.gateway.work import Worker
from serving.predict import PatientFiles, predict_patient
from serving.triton.server import LocalServer
from tests.cohort.dicom_writer import T1, write_series
from tests.registry.servers import free_port
from tests.serving.images import dicom_folders
from tests.serving.pacs.answers import errors_of
from tests.serving.pacs.orthanc import Orthanc, orthanc
from tests.serving.pacs.parts import archive, by_modality
from tests.serving.shop import Shop, altered

WAIT_S = 240.0


@pytest.fixture(scope="module")
def folders(patient: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A phantom as DICOM: its three sequences, and one that no model reads."""
    made = dicom_folders(patient, tmp_path_factory.mktemp("study"))
    image = sitk.Cast(read_image(made["t1c"]), sitk.sitkInt16)
    return {**made, "t1": write_series(made["t1c"].parent / "t1", image, T1)}


@pytest.fixture(scope="module")
def release(quick_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that finds a tumour in the phantom, and answers."""
    folder = tmp_path_factory.mktemp("finds") / "repository"
    return altered(quick_shop.release, folder, threshold=0.35).folder


@pytest.fixture(scope="module")
def server(release: Path) -> Iterator[LocalServer]:
    """It, served."""
    with LocalServer(release) as running:
        yield running


@pytest.fixture(scope="module")
def expected(
    folders: dict[str, Path], release: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What `glioflow predict` writes of the same series, at the age in their headers."""
    out = tmp_path_factory.mktemp("expected")
    given = PatientFiles(folders["t1c"], folders["t2"], folders["flair"], 50.0)
    content = predict_patient(LocalRelease(release), given, out)
    assert content["status"] == "ok"
    return out


@pytest.fixture(scope="module")
def dicom_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@contextmanager
def _running(folder: Path, server: LocalServer, **ends: Any) -> Iterator[Worker]:
    settings = GatewaySettings(
        folder=folder,
        triton=TritonServer(address=server.grpc_address),
        quiet_s=1.0,
        metrics_port=0,
        **ends,
    )
    stop = threading.Event()
    with gateway(settings) as worker:
        thread = threading.Thread(target=work, args=(worker, 72.0, stop))
        thread.start()
        try:
            yield worker
        finally:
            stop.set()
            thread.join()


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.2)


def _done(worker: Worker) -> bool:
    return [study.phase for study in worker.state.studies()] == [Phase.DONE]


def _listen() -> Listen:
    caller = Caller(ae_title="SCANNER", addresses=("127.0.0.1",))
    return Listen(host="127.0.0.1", port=free_port(), callers=(caller,))


def _deliver(folders: dict[str, Path], listen: Listen) -> None:
    """By dcmtk's storescu, or pynetdicom where there is none."""
    files = [str(file) for folder in folders.values() for file in sorted(folder.iterdir())]
    if shutil.which("storescu"):
        command = ["storescu", "-aet", "SCANNER", "-aec", listen.ae_title, "127.0.0.1"]
        subprocess.run([*command, str(listen.port), *files], check=True, capture_output=True)
        return
    node = DicomNode(
        ae_title=listen.ae_title, host="127.0.0.1", port=listen.port, calling_ae_title="SCANNER"
    )
    send(node, [pydicom.dcmread(file) for file in files])


def _check(objects: list[pydicom.Dataset], folder: Path, expected: Path) -> None:
    """The answer's objects say what `glioflow predict` says, by readers of others."""
    found = by_modality({item.SOPInstanceUID: item for item in objects})
    assert {kind: len(items) for kind, items in found.items()} == {"SEG": 1, "SR": 1, "OT": 5}
    content = json.loads((expected / "prediction.json").read_text())
    path = folder / "sr.dcm"
    found["SR"][0].save_as(path, enforce_file_format=True)
    (group,) = srread(path).content.get_volumetric_roi_measurement_groups()
    (volume,) = group.get_measurements(codes.SCT.Volume)
    assert volume.value == pytest.approx(content["tumor_volume_ml"], abs=1e-6)
    assert group.referenced_segment.referenced_sop_instance_uid == found["SEG"][0].SOPInstanceUID
    mask = sitk.ReadImage(str(expected / "tumor_mask.nii.gz"))
    seg = Segmentation.from_dataset(found["SEG"][0])
    assert seg.pixel_array.sum() == sitk.GetArrayViewFromImage(mask).sum() > 0
    assert np.allclose(_centre(seg), _centroid(mask), atol=0.05)


def _centroid(mask: sitk.Image) -> np.ndarray:
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(mask)
    return np.array(shape.GetCentroid(1))


def _centre(seg: Segmentation) -> np.ndarray:
    """LPS mm of a segmentation's middle, by what each of its frames says of itself."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    down, right = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    axes = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    points = []
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        rows, columns = np.nonzero(pixels)
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        points.append(origin + np.outer(columns * right, axes[0]) + np.outer(rows * down, axes[1]))
    return np.concatenate(points).mean(axis=0)


def test_a_study_sent_to_the_gateway_comes_back_answered(
    tmp_path: Path, server: LocalServer, folders: dict[str, Path], expected: Path
) -> None:
    listen = _listen()
    with (
        archive() as pacs,
        _running(tmp_path / "gateway", server, listen=listen, send=pacs.node) as worker,
    ):
        _deliver(folders, listen)
        _until(lambda: _done(worker))
        first = dict(pacs.kept)
        _check(list(first.values()), tmp_path, expected)
        _deliver(folders, listen)
        time.sleep(2.0)
        assert _done(worker)
        assert pacs.kept.keys() == first.keys()


@pytest.mark.slow
def test_the_same_with_orthanc_over_dicom(
    tmp_path: Path,
    server: LocalServer,
    folders: dict[str, Path],
    expected: Path,
    dicom_server: Orthanc,
) -> None:
    listen = _listen()
    ends = {"listen": listen, "send": dicom_server.node}
    with _running(tmp_path / "gateway", server, **ends) as worker:
        _deliver(folders, listen)
        _until(lambda: _done(worker))
        (record,) = worker.state.studies()
    client = dicom_server.client
    kinds = {s["00080060"]["Value"][0] for s in client.search_for_series(record.study_uid)}
    assert kinds == {"SEG", "SR", "OT"}
    objects = client.retrieve_study(record.study_uid, media_types=(("application/dicom", "*"),))
    _check(objects, tmp_path, expected)
    for number, item in enumerate(objects):
        path = tmp_path / f"{number}.dcm"
        item.save_as(path, enforce_file_format=True)
        assert errors_of(path) == []


@pytest.mark.slow
def test_a_study_found_in_orthanc_is_answered_there(
    tmp_path: Path,
    server: LocalServer,
    folders: dict[str, Path],
    expected: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Polled by QIDO, fetched by WADO, stored by STOW; its own answers are not taken for news."""
    images = [pydicom.dcmread(f) for folder in folders.values() for f in folder.iterdir()]
    study_uid = images[0].StudyInstanceUID
    with orthanc(tmp_path_factory.mktemp("orthanc-web")) as archive_:
        stow(archive_.web, study_uid, images)
        poll = Poll(server=archive_.web, every_s=0.5, days=100_000)
        with _running(tmp_path / "g", server, poll=poll, store=archive_.web) as worker:
            _until(lambda: _done(worker))
            client = archive_.client
            before = client.search_for_instances(study_uid)
            time.sleep(3.0)
            assert _done(worker)
            assert len(client.search_for_instances(study_uid)) == len(before)
            assert worker.counted.asked._value.get() == 1
        whole = client.retrieve_study(study_uid, media_types=(("application/dicom", "*"),))
        _check([item for item in whole if item.Modality != "MR"], tmp_path, expected)
