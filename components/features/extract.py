"""Every prepared case segmented and turned into a sample for the classifier."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.cohort.prepared import PreparedCase, read_cases
from components.core.device import choose_device
from components.core.errors import BadInput
from components.core.files import atomic, read_json, sha256_tree, write_arrays, write_json
from components.core.progress import Progress, silent
from components.core.tables import write_csv
from components.core.vocabulary import DEVELOPMENT, FEATURE_NAMES, SLICE_OFFSETS, Status
from components.features.feature_slice import (
    StepResult,
    StepSpec,
    feature_slice_step,
    step_from_mask,
)
from components.features.settings import FeatureSettings, MaskSource

if TYPE_CHECKING:
    from components.preprocess.plan import PreprocessingPlan
    from components.segment.inference.segmenter import Segmenter

log = logging.getLogger(__name__)

FEATURES_FILE = "features.csv"
SAMPLES_FILE = "samples.json"
FAILED_FILE = "failed.csv"
PLAN_FILE = "plan.json"

COLUMNS = (
    "patient_id",
    "cohort",
    "subset",
    "fold",
    "idh",
    "sex",
    "grade",
    "codeletion",
    "site",
    "origin",
    "status",
    *FEATURE_NAMES,
    *(f"slice_{i}" for i in range(len(SLICE_OFFSETS))),
    "tumor_ml",
    "dice",
    "hd95_mm",
    "volume_error_ml",
    "confidence",
    "t1c_slice_mm",
    "warnings",
)
"""Columns of features.csv; `age` (years) is the last of FEATURE_NAMES, `t1c_slice_mm` the largest
spacing of the T1C as it was acquired."""

_PROGRESS_FOLDER = ".done"


@dataclass(frozen=True)
class _Job:
    segmenter: Segmenter
    spec: StepSpec
    source: MaskSource
    out: Path
    key: str


def extract_samples(
    prepared: Iterable[Path],
    segmenter: Path,
    settings: FeatureSettings,
    out: Path,
    *,
    progress: Progress = silent,
) -> None:
    """Segment every prepared case and write what the classifier learns from.

    A development case with a fold is segmented by the member that did not see it, so that the
    classifier
    never learns on memorised masks. Files: features.csv (a row a patient), images/<patient>.npy
    float32 (5, 3, y, x), masks/<patient>.npz (bit-packed `mask` with its `shape`, on the working
    grid), samples.json (channels, grid, where they come from), failed.csv (patient_id, reason,
    remedy: left out, the others go on). A killed run continues where it was.

    Args:
        prepared: prepared sets (folders), one a shard, made by one plan.
        segmenter: folder of the trained segmenter.
        progress: called with (cases done, cases in all, patient).

    Raises:
        BadInput: no cases, two plans, or not a model folder.
    """
    from components.preprocess.plan import read_plan
    from components.segment.inference.segmenter import Segmenter

    folders = list(prepared)
    cases = read_cases(folders)
    if not cases:
        raise BadInput(
            ", ".join(map(str, folders)) or "prepared sets", "no prepared case", "prepare a cohort"
        )
    _check_patients(cases)
    plan = read_plan(folders[0] / PLAN_FILE)
    if plan.digest() != cases[0].plan_digest:
        raise BadInput(
            folders[0] / PLAN_FILE, "not the plan that made the cases", "prepare the cohort again"
        )
    model = Segmenter.load(segmenter).on(choose_device(settings.device, "features.device"))
    spec = _spec(plan, model, settings)
    key = _key(segmenter, settings, cases[0].plan_digest)
    job = _Job(model, spec, settings.mask, out, key)
    rows, failed = [], []
    with _at_once(cases, job, settings.workers) as samples:
        for number, (case, sample) in enumerate(zip(cases, samples, strict=True)):
            try:
                rows.append(sample.result())
            except BadInput as error:
                log.warning("patient %s left out: %s", case.patient_id, error)
                failed.append([case.patient_id, error.problem, error.remedy])
            progress(number + 1, len(cases), case.patient_id)
    write_csv(out / FEATURES_FILE, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    write_csv(out / FAILED_FILE, ("patient_id", "reason", "remedy"), failed)
    write_json(out / SAMPLES_FILE, _describe(cases[0], job, settings, segmenter))
    shutil.rmtree(out / _PROGRESS_FOLDER, ignore_errors=True)


def _check_patients(cases: list[PreparedCase]) -> None:
    for first, second in itertools.pairwise(cases):
        if first.patient_id == second.patient_id:
            raise BadInput(
                f"patient {first.patient_id}", "prepared twice", "keep one row per patient"
            )
        if first.plan_digest != second.plan_digest or first.grid.shape != second.grid.shape:
            raise BadInput(
                f"patients {first.patient_id} and {second.patient_id}",
                "prepared by two different plans",
                "prepare all cohorts again with one profile",
            )


def _spec(plan: PreprocessingPlan, model: Segmenter, settings: FeatureSettings) -> StepSpec:
    """The step's parameters, clip and atlas from the plan that made the cases."""
    from components.preprocess.atlas.regions import atlas_of

    atlas = atlas_of(plan.atlas_files)
    if atlas.sha256 != plan.atlas.sha256:
        raise BadInput(
            f"atlas {atlas.source}",
            "not the one that the plan names",
            "restore the atlas, or prepare the cohorts again",
        )
    return StepSpec(model.rule, settings.channels, plan.clip, atlas)


def _weights(segmenter: Path) -> dict[str, str]:
    """sha256 of the files that decide its answers; curves and tables hold times as well."""
    return {
        name: digest for name, digest in sha256_tree(segmenter).items() if not name.endswith(".csv")
    }


def _key(segmenter: Path, settings: FeatureSettings, plan_digest: str) -> str:
    """What a sample depends on besides its case."""
    parts = [_weights(segmenter), settings.model_dump(mode="json"), plan_digest]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _at_once(
    cases: list[PreparedCase], job: _Job, workers: int
) -> Iterator[list[Future[dict[str, Any]]]]:
    """Samples in the cases' order, in the making; what has not begun is dropped at the end."""
    import torch

    with ThreadPoolExecutor(workers, "sample", torch.set_num_threads, (1,)) as pool:
        try:
            yield [pool.submit(_sample, case, job) for case in cases]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _sample(case: PreparedCase, job: _Job) -> dict[str, Any]:
    """Write one patient's image and mask; returns the row. Reuses what a killed run finished."""
    done = job.out / _PROGRESS_FOLDER / f"{case.patient_id}.json"
    if done.is_file():
        content = read_json(done)
        if content["key"] == job.key:
            return content["row"]
    probability = job.segmenter.case_probability(case)
    result = _step(case, probability, job)
    with atomic(job.out / "images" / f"{case.patient_id}.npy") as temporary:
        np.save(temporary, result.images, allow_pickle=False)
    packed, shape = np.packbits(result.mask_working), np.array(result.mask_working.shape)
    masks = job.out / "masks" / f"{case.patient_id}.npz"
    write_arrays(masks, {"mask": packed, "shape": shape})
    row = {**_person(case), **_numbers(result), **_quality(case, result, probability, job)}
    write_json(done, {"key": job.key, "row": row})
    return row


def _step(case: PreparedCase, probability: np.ndarray, job: _Job) -> StepResult:
    volumes = {sequence: case.volume(sequence) for sequence in job.spec.channels}
    age = float("nan") if case.age is None else case.age
    where = (volumes, case.brain, case.grid, case.working, case.to_mni, age, job.spec)
    if job.source is MaskSource.PREDICTED:
        return feature_slice_step(probability, *where)
    if case.tumor_working is None:
        raise BadInput(
            f"patient {case.patient_id}", "no manual mask", "use features.mask = predicted"
        )
    return step_from_mask(case.tumor_working, *where)


def _person(case: PreparedCase) -> dict[str, Any]:
    person = {
        "patient_id": case.patient_id,
        "cohort": DEVELOPMENT if case.in_development else case.subset,
        "subset": case.subset,
        "fold": case.fold,
        "idh": None if case.idh is None else int(case.idh),
        "sex": case.sex.value if case.sex else None,
        "grade": case.grade,
        "codeletion": case.codeletion,
        "site": case.site,
        "origin": case.origin.value,
    }
    return {name: "" if value is None else value for name, value in person.items()}


def _numbers(result: StepResult) -> dict[str, Any]:
    empty = result.status is not Status.OK
    values = ["" if empty or np.isnan(value) else float(value) for value in result.features]
    slices = ["" if empty else int(index) for index in result.slices]
    return {
        "status": result.status.value,
        **dict(zip(FEATURE_NAMES, values, strict=True)),
        **{f"slice_{i}": index for i, index in enumerate(slices)},
        "tumor_ml": result.tumor_ml,
        "warnings": "; ".join(result.warnings),
    }


def _quality(
    case: PreparedCase, result: StepResult, probability: np.ndarray, job: _Job
) -> dict[str, Any]:
    """Agreement with the manual mask, where there is one; the age, known without any tumour."""
    from components.segment.evaluation.metrics import Agreement

    quality: dict[str, Any] = {"dice": "", "hd95_mm": "", "volume_error_ml": ""}
    if case.tumor_working is not None:
        found = Agreement.of(result.mask_working, case.tumor_working, case.working)
        quality["dice"] = found.dice
        quality["hd95_mm"] = "" if found.hd95_mm is None else found.hd95_mm
        quality["volume_error_ml"] = result.tumor_ml - found.true_ml
    quality["confidence"] = job.spec.rule.confidence(probability)
    quality["t1c_slice_mm"] = round(max(case.native.spacing), 3)
    quality["age"] = "" if case.age is None else float(case.age)
    return quality


def _describe(
    case: PreparedCase, job: _Job, settings: FeatureSettings, segmenter: Path
) -> dict[str, Any]:
    atlas = job.spec.atlas
    return {
        "channels": [sequence.value for sequence in job.spec.channels],
        "mask": settings.mask.value,
        "grid": case.grid.size[0],
        "clip": job.spec.clip,
        "offsets": list(SLICE_OFFSETS),
        "plan_digest": case.plan_digest,
        "mask_rule": asdict(job.spec.rule),
        "atlas": {"source": atlas.source, "licence": atlas.licence, "sha256": atlas.sha256},
        "segmenter": _weights(segmenter),
        "segmenter_trained_on": job.segmenter.trained_on.value,
    }
