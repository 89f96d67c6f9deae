"""glioma_idh_images on a real server: files in, the same answer out as without a server."""

from __future__ import annotations

import base64
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from components.cohort.images import read_image
from components.core import errors
from components.core.errors import BadInput
from components.core.files import read_json, sha256_file
from components.preprocess.cohort import prepare_patient
from components.release.image_tensors import image_inputs, image_outputs
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from components.release.prediction import Prediction, Reason
from components.release.settings import RequestLimits
from components.release.tensors import IMAGES_ENSEMBLE
from serving.client.client import Client
from serving.images.case import CANARY, CaseHeader, case_tensors
from serving.images.finish import finish
from serving.images.preparer import Preparer
from serving.predict import PatientFiles, predict_patient
from serving.triton.metrics import read_metrics
from serving.triton.server import LocalServer
from tests.cohort.dicom_writer import SECRETS
from tests.serving.images import AGE, ask, dicom_folders, nifti_files, refused, zipped
from tests.serving.shop import Shop


@pytest.fixture(scope="module")
def answered(image_server: LocalServer, patient: Path) -> dict[str, bytes]:
    return ask(image_server, nifti_files(patient))


def _locally(shop: Shop, out: Path, **files: Path) -> dict[str, Any]:
    given = PatientFiles(files["t1c"], files["t2"], files["flair"], AGE)
    return predict_patient(LocalRelease(shop.release.folder), given, out)


def test_the_answer_is_that_of_a_prediction_without_a_server(
    quick_shop: Shop, patient: Path, answered: dict[str, bytes], tmp_path: Path
) -> None:
    files = {name: patient / f"{name}.nii.gz" for name in nifti_files(patient)}
    expected = _locally(quick_shop, tmp_path, **files)
    found = json.loads(answered["result"], parse_constant=lambda word: pytest.fail(word))
    assert found["probability_idh_mutant"] == pytest.approx(
        expected["probability_idh_mutant"], abs=1e-6
    )
    assert {**found, "probability_idh_mutant": 0, "slices": 0, "uncertainty": 0, "ood": 0} == {
        **expected, "probability_idh_mutant": 0, "slices": 0, "uncertainty": 0, "ood": 0,
    }  # fmt: skip
    assert found["inputs"]["files"] == {name: sha256_file(path) for name, path in files.items()}
    Prediction.model_validate(found)
    served = nibabel.nifti1.Nifti1Image.from_bytes(gzip.decompress(answered["mask_nifti"]))
    local = nibabel.nifti1.load(tmp_path / "tumor_mask.nii.gz")
    assert np.array_equal(np.asarray(served.dataobj), np.asarray(local.dataobj))
    assert np.array_equal(served.affine, local.affine)
    assert served.shape == nibabel.nifti1.load(files["t1c"]).shape
    assert answered["mask_dicom"] == answered["page_html"] == b""


def test_both_ensembles_agree(
    quick_shop: Shop, image_server: LocalServer, patient: Path, answered: dict[str, bytes]
) -> None:
    contents = quick_shop.release.contents
    files = PatientFiles(*(patient / f"{n}.nii.gz" for n in ("t1c", "t2", "flair")), age=AGE)
    row = files.as_patient(contents)
    case = prepare_patient(row, contents.plan, subset="prediction", fold=None, cache=None)
    with Client(image_server.grpc_address) as client:
        answer = client.ask(request_tensors(case, contents))
    result = json.loads(answered["result"])
    assert result["probability_idh_mutant"] == pytest.approx(answer.probability, abs=1e-6)
    assert (result["slice_indices"] or []) == list(answer.slices or ())
    assert result["tumor_volume_ml"] == pytest.approx(answer.tumor_ml)
    assert set(result["features"] or {}) == set(answer.features or {})


def test_dicom_in_dicom_out_and_nobody_named(
    quick_shop: Shop, image_server: LocalServer, patient: Path, tmp_path: Path
) -> None:
    folders = dicom_folders(patient, tmp_path / "series")
    sent = {name: zipped(folder, "../../etc/") for name, folder in folders.items()}
    # The T1C as JSON carries it: the models at both ends of the ensemble read it.
    found = ask(image_server, {**sent, "t1c": base64.b64encode(sent["t1c"])})
    expected = _locally(quick_shop, tmp_path / "out", **folders)
    result = json.loads(found["result"])
    for key in ("status", "slice_indices", "features", "tumor_volume_ml", "warnings"):
        assert result[key] == expected[key], key
    assert result["probability_idh_mutant"] == pytest.approx(
        expected["probability_idh_mutant"], abs=1e-6
    )
    assert not any(secret in found["result"].decode() for secret in SECRETS.values())
    assert not any(secret in image_server.log.read_text() for secret in SECRETS.values())
    if result["tumor_volume_ml"]:
        segmentation = highdicom.seg.segread(io.BytesIO(found["mask_dicom"]))
        assert segmentation.PatientID == SECRETS["PatientID"]
        mask = nibabel.nifti1.Nifti1Image.from_bytes(gzip.decompress(found["mask_nifti"]))
        assert segmentation.pixel_array.sum() == np.asarray(mask.dataobj).sum()


def test_base64_is_taken_for_the_file_itself(
    image_server: LocalServer, patient: Path, answered: dict[str, bytes]
) -> None:
    coded = {name: base64.b64encode(file) for name, file in nifti_files(patient).items()}
    assert json.loads(ask(image_server, coded)["result"]) == json.loads(answered["result"])


def test_a_page_is_drawn_where_it_is_asked_for(image_server: LocalServer, patient: Path) -> None:
    page = ask(image_server, nifti_files(patient), page=True)["page_html"].decode()
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/png;base64,") == 3 * 5


def test_a_brain_mask_is_heeded(image_server: LocalServer, patient: Path) -> None:
    mask = (patient / "brain_mask.nii.gz").read_bytes()
    result = json.loads(ask(image_server, nifti_files(patient) | {"brain_mask": mask})["result"])
    assert result["preprocessing"]["quality"]["brain_given"] == 1.0
    assert "brain_mask" in result["inputs"]["files"]


def test_what_the_server_says_of_its_tensors_is_the_contract(
    quick_shop: Shop, image_server: LocalServer
) -> None:
    interface = quick_shop.release.contents.interface
    with Client(image_server.grpc_address) as client:
        told = client.raw.get_model_config(IMAGES_ENSEMBLE).config
    assert [(t.name, t.optional) for t in told.input] == [
        (t.name, t.optional) for t in image_inputs(interface)
    ]
    assert [t.name for t in told.output] == [t.name for t in image_outputs()]
    assert [t.name for t in told.input] == ["t1c", "t2", "flair", "age", "brain_mask", "page"]


@pytest.mark.parametrize("age", [-1.0, 9.0, 200.0, float("nan"), float("inf")])
def test_an_impossible_age_is_refused(image_server: LocalServer, patient: Path, age: float) -> None:
    assert refused(image_server, nifti_files(patient), age=age).startswith("age: ")


@pytest.mark.parametrize("name", ["t1c", "t2", "flair", "age"])
def test_a_missing_file_is_named(image_server: LocalServer, patient: Path, name: str) -> None:
    files = nifti_files(patient)
    with pytest.raises(InferenceServerException) as error:
        ask(image_server, {n: f for n, f in files.items() if n != name},
            age=None if name == "age" else AGE)  # fmt: skip
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert name in str(error.value.message())


def test_a_request_is_audited_by_its_files(image_server: LocalServer, patient: Path) -> None:
    before = read_metrics(image_server.metrics_address)
    ask(image_server, nifti_files(patient), request_id="images-1")
    assert image_server._audit is not None
    lines = [json.loads(line) for line in image_server._audit.read_text().splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "images-1"]
    assert line["files_sha256"] == {
        name: sha256_file(patient / f"{name}.nii.gz") for name in ("t1c", "t2", "flair")
    }
    after = read_metrics(image_server.metrics_address)
    name = "glioflow_prepare_seconds_count"
    assert sum(after[name].values()) == sum(before[name].values()) + 1
    assert sum(after["glioflow_prepare_seconds_sum"].values()) > 0.0
    assert sum(after["glioflow_preparing"].values()) == 0.0


def test_a_canary_passes_the_whole_ensemble_and_counts_for_nobody(
    image_server: LocalServer,
) -> None:
    def answers() -> float:
        return sum(read_metrics(image_server.metrics_address)["glioflow_answers"].values())

    before = answers()
    found = ask(image_server, dict.fromkeys(("t1c", "t2", "flair"), CANARY.encode()))
    assert json.loads(found["result"])["reason"]["check"] == CANARY
    assert answers() == before


class Implausible(BadInput):
    """As preparation raises it of images that allow no answer."""


@pytest.fixture
def preparer(quick_shop: Shop) -> Iterator[Preparer]:
    made = Preparer(quick_shop.plan, RequestLimits())
    yield made
    made.close()


def test_images_that_allow_no_answer_are_an_answer(
    quick_shop: Shop, preparer: Preparer, patient: Path
) -> None:
    contents = quick_shop.release.contents
    found = preparer.prepare(nifti_files(patient), AGE)
    reason = Reason(check="brain_volume", sentence="the brain is of 3 mL")
    given_up = replace(found, case=None, abstains=reason)
    tensors = case_tensors(given_up, contents)
    assert CaseHeader.read(tensors).abstains == reason
    release = LocalRelease(quick_shop.release.folder)
    own = {name.removeprefix("prepared_"): each for name, each in tensors.items()}
    own.pop("case")
    passed = {**tensors, **release.infer(own)}
    made = finish(passed, b"", contents, "glioma-idh-x", RequestLimits())
    result = json.loads(made.result)
    assert result["status"] == "abstain"
    assert result["probability_idh_mutant"] is result["features"] is None
    assert result["warnings"][-1] == "the brain is of 3 mL"
    assert result["reason"] == reason.model_dump()
    mask = nibabel.nifti1.Nifti1Image.from_bytes(gzip.decompress(made.mask_nifti))
    assert not np.asarray(mask.dataobj).any()
    assert mask.shape == read_image(patient / "t1c.nii.gz").GetSize()
    assert isinstance(getattr(errors, "Implausible", Implausible)("a", "b", "c"), BadInput)


def test_limits_end_a_preparation(quick_shop: Shop, patient: Path) -> None:
    files = nifti_files(patient)
    for limits, said in (
        (RequestLimits(seconds=0.05), "not prepared within"),
        (RequestLimits(memory_mb=256), "MiB"),
        (RequestLimits(voxels=1000), "voxels"),
        (RequestLimits(file_mb=1), "more than 1 MiB"),
    ):
        made = Preparer(quick_shop.plan, limits)
        big = files | {"t1c": files["t1c"] + bytes(1 << 20)} if limits.file_mb == 1 else files
        with pytest.raises(BadInput) as error:
            made.prepare(big, AGE)
        assert said in error.value.problem
        made.close()


def test_a_worker_that_was_killed_is_started_again(preparer: Preparer, patient: Path) -> None:
    assert preparer._worker is not None
    preparer._worker.kill()
    preparer._worker.wait()
    assert preparer.prepare(nifti_files(patient), AGE).case is not None


def test_the_command_answers_without_a_server(
    quick_shop: Shop, patient: Path, answered: dict[str, bytes], tmp_path: Path
) -> None:
    images = (f"--{n}={patient / n}.nii.gz" for n in ("t1c", "t2", "flair"))
    release, out = f"--release={quick_shop.release.folder}", f"--out={tmp_path}"
    command = ["predict", *images, f"--age={AGE}", release, out, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, served = json.loads(done.stdout), json.loads(answered["result"])
    assert found["probability_idh_mutant"] == pytest.approx(
        served["probability_idh_mutant"], abs=1e-6
    )
    assert found["inputs"]["files"] == served["inputs"]["files"]
    assert found == read_json(tmp_path / "prediction.json")


@pytest.mark.real_data
def test_a_real_patient_as_the_scanner_made_it(
    quick_shop: Shop, image_server: LocalServer, data_dir: Path, tmp_path: Path
) -> None:
    folder = data_dir / "tcga-fg-6692"
    expected = _locally(
        quick_shop, tmp_path, **{n: folder / f"{n}.nii.gz" for n in ("t1c", "t2", "flair")}
    )
    found = ask(image_server, nifti_files(folder))
    result = json.loads(found["result"])
    for key in ("status", "slice_indices", "features", "tumor_volume_ml", "preprocessing"):
        assert result[key] == expected[key], key
    assert result["probability_idh_mutant"] == pytest.approx(
        expected["probability_idh_mutant"], abs=1e-6
    )
    served = nibabel.nifti1.Nifti1Image.from_bytes(gzip.decompress(found["mask_nifti"]))
    local = nibabel.nifti1.load(tmp_path / "tumor_mask.nii.gz")
    assert np.array_equal(np.asarray(served.dataobj), np.asarray(local.dataobj))
    assert sum(len(content) for content in found.values()) < 4 << 20


def test_prediction_json_is_a_document(patient: Path, quick_shop: Shop, tmp_path: Path) -> None:
    files = {name: patient / f"{name}.nii.gz" for name in ("t1c", "t2", "flair")}
    _locally(quick_shop, tmp_path, **files)
    Prediction.model_validate(read_json(tmp_path / "prediction.json"))
