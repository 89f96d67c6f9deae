"""Nothing gets further on one road than on another: every bad image of validation, on each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.cohort.manifest import BRAIN_MASK, Patient, parse_patient, read_table
from components.core.errors import BadInput
from components.features.single_mask import features_of_mask
from components.preprocess.sequences import read_patient
from components.release.inference.local_release import LocalRelease
from components.release.settings import RequestLimits
from serving.batch import QUARANTINE_FILE, predict_manifest
from serving.images.preparer import Preparer
from serving.predict import PatientFiles, predict_patient
from tests.cohort.test_image_checks import BAD
from tests.serving.shop import Shop
from tests.validate.factories import Cohort, spoil_patient

NAMES = ("t1c", "t2", "flair")


@dataclass(frozen=True)
class Parts:
    """What answers, with a server and without."""

    release: LocalRelease
    preparer: Preparer


@pytest.fixture(scope="module")
def parts(shop: Shop) -> Iterator[Parts]:
    release = LocalRelease(shop.release.folder)
    preparer = Preparer(release.contents().plan, RequestLimits())
    yield Parts(release, preparer)
    preparer.close()


def _predict(parts: Parts, patient: Patient, manifest: Path) -> None:
    paths = [Path(str(getattr(patient, name))) for name in NAMES]
    predict_patient(parts.release, PatientFiles(*paths, age=50.0), manifest.parent / "one")


def _predict_cohort(parts: Parts, patient: Patient, manifest: Path) -> None:
    out = manifest.parent / "all"
    failures = predict_manifest(parts.release, manifest, out, workers=1).quarantined
    assert (out / QUARANTINE_FILE).is_file()
    assert not list(out.glob("*/prediction.json"))
    for failure in failures:
        raise BadInput("", failure.reason, failure.remedy)


def _features(parts: Parts, patient: Patient, manifest: Path) -> None:
    features_of_mask(str(patient.tumor_mask), patient.t1c)


def _server(parts: Parts, patient: Patient, manifest: Path) -> None:
    paths = {name: getattr(patient, name) for name in NAMES}
    paths |= {BRAIN_MASK: patient.extra[BRAIN_MASK]} if patient.extra[BRAIN_MASK] else {}
    parts.preparer.prepare({name: Path(path).read_bytes() for name, path in paths.items()}, 50.0)


ROADS: Mapping[str, Callable[[Parts, Patient, Path], None]] = {
    "predict": _predict,
    "predict-cohort": _predict_cohort,
    "features": _features,
    "server": _server,
}


def _roads(case: str) -> tuple[str, ...]:
    """The roads that read what a case spoils, and can be given it."""
    role, absent = case.partition("-")[0], case.endswith("missing-file")
    if role == "mask":
        return ("features",)
    if role == "brain":
        return ("predict-cohort",) if absent else ("predict-cohort", "server")
    if role == "t1c":
        return tuple(road for road in ROADS if not (absent and road == "server"))
    return ("predict", "predict-cohort", "server")


@pytest.mark.parametrize("case", BAD)
def test_what_validation_refuses_is_refused_on_every_road(
    parts: Parts, tmp_path: Path, case: str
) -> None:
    cohort = Cohort(tmp_path / "cohort", patients=5)
    spoil_patient(cohort, case, 3)
    shutil.copy(cohort.image("p4_flair.nii.gz"), cohort.image("p3_t2.nii.gz"))
    cohort.rows = [cohort.rows[3] | {"t2": "p3_t2.nii.gz"}]
    manifest = cohort.write()
    patient = parse_patient(read_table(manifest), 0)
    with pytest.raises(BadInput) as prepared:
        read_patient(patient, parts.release.contents().plan.sequences)
    said = prepared.value.problem.partition(": ")[2] or prepared.value.problem
    for road in _roads(case):
        with pytest.raises(BadInput) as refused:
            ROADS[road](parts, patient, manifest)
        # Features look at the mask first; the server names a file's format in its own words.
        assert said in refused.value.problem or road in ("features", "server"), road
        assert refused.value.remedy, road
        assert "\n" not in str(refused.value), road


def test_a_pipe_is_refused_without_waiting_for_a_writer(parts: Parts, tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort", patients=1)
    os.mkfifo(cohort.image("pipe"))
    cohort.rows[0] |= {"t2": "p0_flair.nii.gz", "flair": "pipe"}
    manifest = cohort.write()
    patient = parse_patient(read_table(manifest), 0)
    for road in ("predict", "predict-cohort"):
        with pytest.raises(BadInput) as refused:
            ROADS[road](parts, patient, manifest)
        assert "neither a file nor a folder" in refused.value.problem
