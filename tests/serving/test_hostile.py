"""Files that nobody should send: each is refused in one line, and the server goes on."""

from __future__ import annotations

import gzip
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from components.release.tensors import IMAGES_ENSEMBLE
from serving.client.glioflow_client import ImagesClient
from serving.triton.server import LocalServer
from tests.cohort.dicom_writer import SECRETS, T1C, T2, datasets, phantom, save
from tests.serving.archives import ARCHIVES, HARMLESS, Spoil
from tests.serving.images import (
    ask,
    dicom_folders,
    header_with,
    nifti_files,
    refused,
    zip_of,
    zipped,
)

GROWTH_MIB = 40.0
"""By how much the server's memory may differ after all refusals."""


def _plain(content: bytes) -> bytes:
    return gzip.decompress(content)


def _cut(share: float) -> Spoil:
    return lambda content: content[: int(len(content) * share)]


def _dims(*sizes: int) -> Spoil:
    packed = struct.pack("<8h", *sizes, *[1] * (8 - len(sizes)))
    return lambda content: header_with(content, 40, packed)


def _header(place: int, what: bytes) -> Spoil:
    return lambda content: header_with(content, place, what)


def _bomb(_: bytes) -> bytes:
    return zip_of({f"IM{i:04d}": bytes(64 << 20) for i in range(20)})


def _encrypted(content: bytes) -> bytes:
    made = bytearray(zip_of({"IM0": b"x" * 400}))
    made[6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def _liar(content: bytes) -> bytes:
    """A ZIP whose directory claims ten bytes of a file that has a million."""
    made = bytearray(zip_of({"IM0": bytes(1 << 20)}))
    place = made.index(b"PK\x01\x02") + 24
    made[place : place + 4] = struct.pack("<I", 10)
    return bytes(made)


def _values(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def spoil(content: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "a.nii.gz"
            path.write_bytes(content)
            image = sitk.ReadImage(str(path), sitk.sitkFloat32)
            made = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
            if made.GetDimension() == 3 and made.GetSize() == image.GetSize():
                made.CopyInformation(image)
            sitk.WriteImage(made, str(path))
            return path.read_bytes()

    return spoil


def _nan(values: np.ndarray) -> np.ndarray:
    values[3, 3, 3] = np.nan
    return values


def _series(change: Callable[[list[Dataset]], list[Dataset]], keep: int | None = None) -> Spoil:
    """A series that `change` has broken, each file cut to its bytes up to `keep`."""

    def spoil(_: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = save(Path(scratch) / "s", change(datasets(phantom(1), T1C)))
            return zip_of({file.name: file.read_bytes()[:keep] for file in folder.iterdir()})

    return spoil


def _with(**values: object) -> Callable[[list[Dataset]], list[Dataset]]:
    """Change entries of every header; None takes one away."""

    def change(items: list[Dataset]) -> list[Dataset]:
        for item in items:
            for name, value in values.items():
                if value is None:
                    delattr(item, name)
                else:
                    setattr(item, name, value)
        return items

    return change


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 4
BAD: dict[str, Spoil] = {
    "nothing": lambda _: b"",
    "a byte": lambda _: b"\x00",
    "zeros": lambda _: bytes(5000),
    "text": lambda _: b"the patient's scan",
    "base64 of text": lambda _: b"dGhlIHBhdGllbnQ=",
    "a JPEG": lambda _: JPEG,
    "a gzip JPEG": lambda _: gzip.compress(JPEG),
    "a PDF": lambda _: b"%PDF-1.7\n" + bytes(400),
    "an ELF program": lambda _: b"\x7fELF" + bytes(400),
    "JSON": lambda _: json.dumps({"t1c": "/etc/passwd"}).encode(),
    "a path": lambda _: b"/etc/passwd",
    "an address": lambda _: b"s3://bucket/t1c.nii.gz",
    "an empty gzip": lambda _: gzip.compress(b""),
    "gzip cut at 1 %": _cut(0.01),
    "gzip cut in the middle": _cut(0.5),
    "gzip without its end": lambda c: c[:-4],
    "gzip with another checksum": lambda c: c[:-8] + b"\x00\x01\x02\x03" + c[-4:],
    "gzip with noise inside": lambda c: c[:2000] + bytes(200) + c[2200:],
    "a gzip bomb": lambda _: gzip.compress(bytes(200 << 20), 1),
    "a gzip bomb behind a header": lambda c: gzip.compress(_plain(c)[:352] + bytes(200 << 20), 1),
    "gzip of gzip": lambda c: gzip.compress(c),
    "NIfTI cut to its header": lambda c: _plain(c)[:352],
    "NIfTI cut in its header": lambda c: _plain(c)[:200],
    "NIfTI cut in the middle": lambda c: _plain(c)[: len(_plain(c)) // 2],
    "wrong magic": _header(344, b"xxxx"),
    "the magic of a pair": _header(344, b"ni1\x00"),
    "NIfTI-2": lambda c: gzip.compress(struct.pack("<i", 540) + _plain(c)[4:]),
    "ten billion voxels": _dims(3, 2200, 2200, 2200),
    "32767 a side": _dims(3, 32767, 32767, 32767),
    "negative size": _dims(3, -5, 10, 10),
    "size zero": _dims(3, 0, 10, 10),
    "5-D": _dims(5, 10, 10, 10, 2, 3),
    "4-D": _dims(4, 10, 10, 10, 7),
    "2-D": _dims(2, 100, 100),
    "1-D": _dims(1, 100),
    "0-D": _dims(0),
    "8-D": _dims(8, 10, 10, 10),
    "complex": _header(70, struct.pack("<hh", 32, 64)),
    "RGB": _header(70, struct.pack("<hh", 128, 24)),
    "RGBA": _header(70, struct.pack("<hh", 2304, 32)),
    "bits": _header(70, struct.pack("<hh", 1, 1)),
    "unknown type": _header(70, struct.pack("<hh", 7777, 16)),
    "NaN voxel size": _header(80, struct.pack("<3f", np.nan, 1, 1)),
    "no voxel size": _header(80, struct.pack("<3f", 0, 0, 0)),
    "infinite voxel size": _header(80, struct.pack("<3f", np.inf, 1, 1)),
    "voxels of a metre": _header(80, struct.pack("<3f", 1000, 1000, 1000)),
    "NaN affine": _header(252, struct.pack("<hh24x12f", 0, 1, *[np.nan] * 12)),
    "flat affine": _header(252, struct.pack("<hh", 0, 1) + bytes(24) + bytes(48)),
    "NaN turn": _header(252, struct.pack("<hh", 1, 0) + struct.pack("<6f", *[np.nan] * 6)),
    "voxels at NaN": _header(108, struct.pack("<f", np.nan)),
    "voxels at the end of the world": _header(108, struct.pack("<f", 3e38)),
    "voxels inside the header": _header(108, struct.pack("<f", 8)),
    "infinite scale": _header(112, struct.pack("<f", np.inf)),
    "NaN voxel": _values(_nan),
    "every voxel the same": _values(lambda v: np.ones_like(v)),
    "two slices": _values(lambda v: v[:2]),
    "one slice": _values(lambda v: v[:1]),
    "noise": _values(lambda v: np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)),
    "an empty ZIP": lambda _: zip_of({}),
    "a ZIP cut short": lambda _: zip_of({"a": bytes(9000)})[:60],
    "a ZIP of text": lambda _: zip_of({"readme.txt": b"hello"}),
    "a ZIP of an image": lambda c: zip_of({"t1c.nii": _plain(c)}),
    "a ZIP of a gzip image": lambda c: zip_of({"t1c.nii.gz": c}),
    "a ZIP in a ZIP": lambda _: zip_of({"a.zip": zip_of({"b": b"c"})}),
    "a ZIP bomb": _bomb,
    "a ZIP of too many files": lambda _: zip_of({f"{i}": b"" for i in range(5000)}),
    "an encrypted ZIP": _encrypted,
    "a ZIP that lies about sizes": _liar,
    "names that climb": lambda _: zip_of({"../../../../etc/cron.d/x": b"x", "/etc/passwd": b"y"}),
    "names that are devices": lambda _: zip_of({"/dev/sda": b"x", "C:\\a": b"y", "a\x00b": b"z"}),
    "two series": _series(lambda items: items + datasets(phantom(2), T2)),
    "a series with a hole": _series(lambda items: items[:4] + items[7:]),
    "a series of two slices": _series(lambda items: items[:2]),
    "a series without places": _series(_with(ImagePositionPatient=None)),
    "a huge series": _series(_with(Rows=65535, Columns=65535)),
    "a colour series": _series(_with(SamplesPerPixel=3, PhotometricInterpretation="RGB")),
    "a series cut short": _series(list, -200),
    "headers of a series": _series(list, 160),
    "every slice twice": _series(lambda items: items + items),
    **ARCHIVES,
}  # fmt: skip


def test_every_bad_file_is_refused_and_the_server_goes_on(
    image_server: LocalServer, patient: Path
) -> None:
    good = nifti_files(patient)
    before = json.loads(ask(image_server, good)["result"])
    memory = 0.0
    assert len(BAD) >= 90
    for which in ("t1c", "flair"):
        for name, spoil in BAD.items():
            try:
                line = refused(image_server, good | {which: spoil(good[which])})
            except pytest.fail.Exception:
                pytest.fail(f"{name} as {which} was answered")
            subject, _, rest = line.partition(": ")
            assert subject in (which, "images"), f"{name}: {line}"
            assert rest.count("; ") >= 1, f"{name}: {line}"
        now = image_server.memory_mib()
        assert not memory or now - memory < GROWTH_MIB
        memory = now
    assert json.loads(ask(image_server, good)["result"]) == before


def test_odd_files_get_the_answer_of_the_plain_one(
    image_server: LocalServer, patient: Path
) -> None:
    good = nifti_files(patient)
    plain = json.loads(ask(image_server, good)["result"])
    for name, change in HARMLESS.items():
        odd = {image: change(content) for image, content in good.items()}
        result = json.loads(ask(image_server, odd)["result"])
        assert {**result, "inputs": plain["inputs"]} == plain, name


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ([0], b""),
        ([1], b""),
        ([1], b"\x03"),
        ([1], struct.pack("<I", 0xFFFFFFFF) + b"abc"),
        ([1], struct.pack("<I", 9) + b"abc"),
        ([1], 2 * (struct.pack("<I", 3) + b"abc")),
        ([2], 2 * (struct.pack("<I", 3) + b"abc")),
        ([1, 1], struct.pack("<I", 3) + b"abc"),
    ],
    ids=["none", "nothing", "cut length", "4 GiB", "9 of 3", "2 of 1", "two", "a matrix"],
)  # fmt: skip
def test_a_tensor_that_is_not_one_file_is_refused(
    image_server: LocalServer, patient: Path, shape: list[int], content: bytes
) -> None:
    inputs = []
    for name, file in nifti_files(patient).items():
        inputs.append(InferInput(name, shape if name == "t1c" else [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([file], np.object_)) if name != "t1c" else None
    inputs[0]._raw_content = content
    inputs.append(InferInput("age", [1], "FP32"))
    inputs[-1].set_data_from_numpy(np.array([52.0], np.float32))
    with InferenceServerClient(image_server.grpc_address) as client:
        with pytest.raises(InferenceServerException) as error:
            client.infer(IMAGES_ENSEMBLE, inputs, client_timeout=60.0)
        assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert "t1c" in str(error.value.message())
        assert "\n" not in str(error.value.message())
    with ImagesClient(image_server.grpc_address) as whole:
        assert whole.canary() is None


def test_one_file_three_times_is_refused(image_server: LocalServer, patient: Path) -> None:
    same = nifti_files(patient)["t1c"]
    assert "same image" in refused(image_server, dict.fromkeys(("t1c", "t2", "flair"), same))


def test_two_patients_in_one_request_are_refused(
    image_server: LocalServer, patient: Path, tmp_path: Path
) -> None:
    one = dicom_folders(patient, tmp_path / "one")
    two = dicom_folders(patient, tmp_path / "two", patient="MRN-1234")
    files = {name: zipped((two if name == "flair" else one)[name]) for name in one}
    line = refused(image_server, files)
    assert "several patients" in line
    assert not any(secret in line for secret in SECRETS.values())
