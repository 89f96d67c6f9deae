"""One small release and one real Triton server for all tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.release.inference.local_release import LocalRelease
from serving.client.client import Client
from serving.client.glioflow_client.images import SEQUENCES
from serving.predict import PatientFiles, predict_patient
from serving.triton.server import LocalServer
from tests.serving.images import AGE, Sent, dicom_folders, zipped
from tests.serving.shop import QUICK, Shop, build


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return build(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def server(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    audit = tmp_path_factory.mktemp("audit") / "predictions.jsonl"
    with LocalServer(shop.release.folder, audit=audit) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.grpc_address, deadline_s=60.0) as connected:
        yield connected


@pytest.fixture(scope="session")
def quick_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A release that prepares images in seconds."""
    return build(tmp_path_factory.mktemp("quick-shop"), QUICK)


@pytest.fixture(scope="session")
def image_server(
    quick_shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """It, served."""
    audit = tmp_path_factory.mktemp("image-audit") / "predictions.jsonl"
    with LocalServer(quick_shop.release.folder, audit=audit) as running:
        yield running


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a phantom's images."""
    folder = tmp_path_factory.mktemp("phantom")
    settings = PhantomSettings(resolution_mm=2.0)
    manifest = make_cohort(site_named("severance"), 1, 3, folder, settings)
    return manifest.parent / "severance-0001"


@pytest.fixture(
    scope="session",
    params=[
        "phantom",
        pytest.param("zips", marks=pytest.mark.slow),
        pytest.param("raw", marks=[pytest.mark.slow, pytest.mark.real_data]),
    ],
)
def sent(
    request: pytest.FixtureRequest,
    quick_shop: Shop,
    patient: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sent:
    """A phantom as NIfTI or as ZIPs of DICOM series, and a real patient as the scanner made it."""
    folder, out = patient, tmp_path_factory.mktemp("sent")
    if request.param == "raw":
        folder = request.getfixturevalue("data_dir") / "tcga-fg-6692"
    images = {name: folder / f"{name}.nii.gz" for name in SEQUENCES}
    files = images
    if request.param == "zips":
        images = dicom_folders(patient, out)
        files = {name: out / f"{name}.zip" for name in images}
        for name, path in files.items():
            path.write_bytes(zipped(images[name]))
    given = PatientFiles(images["t1c"], images["t2"], images["flair"], AGE)
    predict_patient(LocalRelease(quick_shop.release.folder), given, out / "expected")
    return Sent(files, out / "expected")
