"""Requests of image files for tests: phantoms as NIfTI and as DICOM, and ways to spoil them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from components.release.tensors import IMAGES_ENSEMBLE
from serving.triton.server import LocalServer
from tests.cohort.dicom_writer import FLAIR, T1C, T2, write_series

TAGS = {"t1c": T1C, "t2": T2, "flair": FLAIR}
AGE = 52.0

Files = dict[str, bytes]


@dataclass(frozen=True)
class Sent:
    """One patient's files, and what they must be answered.

    Attributes:
        files: sequence -> file, as a client sends it.
        expected: folder of what `glioflow predict` writes for them without a server.
    """

    files: dict[str, Path]
    expected: Path


def nifti_files(patient: Path) -> Files:
    """The three images of a phantom's folder."""
    return {name: (patient / f"{name}.nii.gz").read_bytes() for name in TAGS}


def dicom_folders(phantom: Path, folder: Path, **more: str) -> dict[str, Path]:
    """The same images as DICOM series, their voxels as whole numbers."""
    made = {}
    for name, tags in TAGS.items():
        image = sitk.ReadImage(str(phantom / f"{name}.nii.gz"))
        values = sitk.GetArrayFromImage(image)
        whole = np.rint(values * (2000.0 / values.max())).astype(np.int16)
        scaled = sitk.GetImageFromArray(whole)
        scaled.CopyInformation(image)
        made[name] = write_series(folder / name, scaled, tags, **more)
    return made


def zipped(folder: Path, prefix: str = "") -> bytes:
    """A ZIP of a folder's files."""
    return zip_of({prefix + file.name: file.read_bytes() for file in sorted(folder.iterdir())})


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A ZIP of these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def header_with(content: bytes, place: int, what: bytes) -> bytes:
    """A gzip NIfTI file with bytes of its header replaced."""
    plain = bytearray(gzip.decompress(content))
    plain[place : place + len(what)] = what
    return gzip.compress(bytes(plain), 1)


def ask(
    server: LocalServer,
    files: Files,
    *,
    age: float | None = AGE,
    page: bool = False,
    request_id: str = "",
) -> dict[str, bytes]:
    """Outputs of a raw request, sent as any client would."""
    inputs = []
    for name, content in files.items():
        inputs.append(InferInput(name, [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([content], dtype=np.object_))
    numbers = {
        "age": None if age is None else np.float32(age),
        "page": np.uint8(1) if page else None,
    }
    for name, number in numbers.items():
        if number is not None:
            inputs.append(InferInput(name, [1], "FP32" if name == "age" else "UINT8"))
            inputs[-1].set_data_from_numpy(np.array([number]))
    client = InferenceServerClient(server.grpc_address)
    try:
        result = client.infer(IMAGES_ENSEMBLE, inputs, request_id=request_id, client_timeout=120.0)
        return {o.name: result.as_numpy(o.name)[0] for o in result.get_response().outputs}
    finally:
        client.close()


def refused(server: LocalServer, files: Files, *, age: float = AGE) -> str:
    """The one line by which a request is refused, without what Triton puts before it."""
    with pytest.raises(InferenceServerException) as error:
        ask(server, files, age=age)
    message = str(error.value.message())
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT", message
    assert "\n" not in message
    assert "Traceback" not in message
    assert "/tmp" not in message
    return message.partition(", ")[2] if message.startswith("in ensemble") else message


def assert_same_answer(found: Any, mask: bytes, expected: Path) -> None:
    """An answer by a server against the files of `glioflow predict`: nothing else may differ."""
    content, own = json.loads((expected / "prediction.json").read_text()), dict(found)
    for result in (content, own):
        # A ZIP has another digest than the folder that it holds.
        result.pop("inputs")
    for key in ("probability_idh_mutant", "uncertainty", "ood", "slices"):
        nearly = pytest.approx(content.pop(key), abs=1e-6)
        assert own.pop(key) == nearly, key
    assert own == content
    written = gzip.decompress((expected / "tumor_mask.nii.gz").read_bytes())
    assert gzip.decompress(mask) == written
