"""A profile and its cohorts judged as a whole, before the first step.

Each check below would otherwise stop a run late: after hours of preparing and training.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from components.classify.inference.conformal import check_level
from components.cohort.manifest import ManifestTable, Patient, parse_patient, read_table
from components.core.device import Device, choose_device
from components.core.errors import BadInput
from components.core.vocabulary import DEVELOPMENT, Idh, Split
from components.validate.splits import assign_development
from pipelines.estimates import GIB, Estimate, disk_gib, estimates
from pipelines.profile import Profile


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        patients: rows by cohort.
        estimates: of the steps that take longest, from the figures of docs/scale.md.
        disk_gib: what the run writes.
        warnings: what does not stop the run, but a reader should know.
    """

    patients: dict[str, int]
    estimates: tuple[Estimate, ...]
    disk_gib: float
    warnings: tuple[str, ...]


def check_run(
    profile: Profile, cohorts: Mapping[str, str], out: Path | None, *, networks: bool = True
) -> Checked:
    """Judge a profile and its cohorts for a run on this machine.

    Args:
        cohorts: name -> manifest; without any, the profile's phantoms.
        out: where the run will write; None where that is not known.
        networks: also export the profile's networks, untrained, and load them.

    Raises:
        BadInput: the first thing that would stop the run.
    """
    counts, warnings = check_profile(profile, cohorts)
    for field, wish in _devices(profile).items():
        choose_device(wish, f"{field}.device")
    external = sum(counts.values()) - counts[DEVELOPMENT]
    found = Checked(
        counts,
        estimates(profile, counts[DEVELOPMENT], external),
        disk_gib(profile, sum(counts.values())),
        warnings,
    )
    if out is not None:
        _check_room(out, found)
    if networks:
        check_networks(profile)
    return found


def check_profile(
    profile: Profile, cohorts: Mapping[str, str]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """What holds wherever the steps run; returns the patients by cohort, and warnings.

    Raises:
        BadInput: as `check_run`.
    """
    from components.preprocess.plan import make_plan
    from components.release.integrity.keys import signing_key

    check_sizes(profile)
    tables = {name: read_table(manifest) for name, manifest in cohorts.items()}
    warnings = tuple(_check_tables(profile, tables))
    counts = {name: len(table.rows) for name, table in tables.items()} or {
        cohort.name: cohort.patients for cohort in profile.cohort.cohorts
    }
    _check_counts(profile, tables, counts)
    signing_key()
    make_plan(profile.preprocess)
    return counts, warnings


def _devices(profile: Profile) -> dict[str, Device]:
    return {step: getattr(profile, step).device for step in ("segment", "features", "classify")}


def check_placement(profile: Profile) -> None:
    """Raises BadInput where a step wants a GPU and its pod gets none."""
    for step, wish in _devices(profile).items():
        if wish is Device.CUDA and not profile.cluster.of(step).gpus:
            raise BadInput(
                f"{step}.device = cuda",
                f"cluster.steps gives {step} no GPU",
                f"set gpus of cluster.steps.{step}, or {step}.device to auto",
            )


def check_sizes(profile: Profile) -> None:
    """Raises BadInput where settings of two packages cannot go together."""
    segment, grid = profile.segment, profile.preprocess.grid
    divisors = segment.network.divisors
    if any(grid % divisor for divisor in divisors):
        raise BadInput(
            f"preprocess.grid = {grid}",
            f"not a multiple of {divisors} (z, y, x), which segment.network needs",
            "change it, or levels, fold_z and flat_levels of segment.network",
        )
    if segment.crop and max(segment.crop) > grid:
        raise BadInput(
            f"segment.crop = {list(segment.crop)}",
            f"larger than preprocess.grid = {grid}",
            "lower segment.crop, or leave it out",
        )


def _check_tables(profile: Profile, tables: Mapping[str, ManifestTable]) -> Iterator[str]:
    """Refuse manifests that lack what the profile needs of every patient; yield warnings."""
    for name, table in tables.items():
        where = f"cohort {name}"
        if not table.rows:
            raise BadInput(where, "no patients", "add one row per patient")
        for sequence in profile.preprocess.sequences:
            if not any(row.get(sequence.value) for row in table.rows):
                raise BadInput(
                    f"{where}, column {sequence.value}",
                    "empty for every patient, and the profile reads it",
                    "fill the column, or take a profile without that sequence",
                )
        if name == DEVELOPMENT and not any(row.get("tumor_mask") for row in table.rows):
            raise BadInput(
                f"{where}, column tumor_mask",
                "empty for every patient: the segmenter has nothing to learn from",
                "give the masks",
            )
        if name != DEVELOPMENT and len(_classes(_labelled(table))) < 2:
            yield f"{where} holds patients of one IDH status only: no AUROC, and the gate refuses"


def _labelled(table: ManifestTable) -> list[Patient]:
    """Patients with a known IDH status, of the rows that can be read."""
    found = []
    for index in range(len(table.rows)):
        with suppress(BadInput):
            found.append(parse_patient(table, index))
    return [patient for patient in found if patient.idh is not None]


def _classes(patients: Iterable[Patient]) -> Counter[Idh]:
    """Patients by IDH status."""
    return Counter(patient.idh for patient in patients if patient.idh is not None)


def _held_out(profile: Profile, labelled: list[Patient]) -> list[Patient]:
    """Of the development patients those by whose probabilities conformal sets are calibrated."""
    assigned = assign_development(labelled, profile.admission)
    if profile.validation.folds > 1:
        return labelled
    return [p for p in labelled if assigned[p.patient_id][0] == Split.TUNING.value]


def _check_counts(
    profile: Profile, tables: Mapping[str, ManifestTable], counts: Mapping[str, int]
) -> None:
    if DEVELOPMENT not in counts:
        raise BadInput(
            "--cohort", f"no cohort is named '{DEVELOPMENT}'", "add --cohort development=MANIFEST"
        )
    least, folds = profile.admission.min_development, profile.validation.folds
    where, found, kind = f"cohort.cohorts, {DEVELOPMENT}", counts[DEVELOPMENT], "phantoms"
    if given := tables.get(DEVELOPMENT):
        labelled = _labelled(given)
        classes = _classes(labelled)
        where, found = f"cohort {DEVELOPMENT}", sum(classes.values())
        kind = "patients with a known IDH status"
    if found < least:
        raise BadInput(
            where,
            f"{found} {kind}, {least} are needed",
            "add some, or lower validation.min_development and classify.min_patients",
        )
    if not given:
        return
    parts = folds if folds > 1 else 3
    rarest = min(classes.values()) if len(classes) > 1 else 0
    if rarest < parts:
        raise BadInput(
            where,
            f"{rarest} patients of the rarer IDH status for {parts} "
            f"{'folds' if folds > 1 else 'parts (training, tuning, internal test)'}",
            "add patients of that status, or lower the number of folds",
        )
    if profile.classify.conformal is not None:
        check_level(profile.classify.conformal, _classes(_held_out(profile, labelled)))


def _check_room(out: Path, found: Checked) -> None:
    """Refuse an output folder that cannot be written, or has not the room."""
    import psutil

    home = next(parent for parent in (out, *out.resolve().parents) if parent.exists())
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise BadInput(out, f"{home} cannot be written", "give another --out, or its rights")
    free = shutil.disk_usage(home).free / GIB
    if free < found.disk_gib:
        raise BadInput(
            out,
            f"{free:.1f} GiB free on its disk, the run writes about {found.disk_gib:.1f}",
            "free some, or give another --out",
        )
    memory = psutil.virtual_memory().total / GIB
    worst = max(found.estimates, key=lambda estimate: estimate.memory_gib)
    if worst.memory_gib > memory:
        raise BadInput(
            f"step {worst.step}",
            f"takes about {worst.memory_gib:.0f} GiB of memory, this machine has {memory:.0f}",
            "lower segment.crop or segment.batch_size, or run it on Kubeflow",
        )


def check_networks(profile: Profile) -> None:
    """Export the profile's networks, untrained, and serve each a request of the right shape.

    Raises BadInput: the architecture cannot be exported or served.
    """
    from components.classify.network.export import export_untrained as export_classifier
    from components.release.inference.onnx_network import OnnxNetwork
    from components.release.tensors import Interface, Step
    from components.segment.network.export import export_untrained as export_segmenter
    from serving.triton.server import ServerFailed
    from serving.triton.trial import try_networks

    plan, inputs = profile.preprocess, profile.segment.inputs
    interface = Interface(plan.grid, inputs, profile.features.channels, plan.strip, plan.sequences)
    exports: dict[Step, Callable[[Path], None]] = {
        Step.SEGMENTER: lambda path: export_segmenter(profile.segment, plan.grid, path),
        Step.CLASSIFIER: lambda path: export_classifier(profile.classify, plan.grid, path),
    }
    fields = {Step.SEGMENTER: "segment.network", Step.CLASSIFIER: "classify.network"}
    with tempfile.TemporaryDirectory() as folder:
        files = {step: Path(folder) / f"{step.value}.onnx" for step in exports}
        for step, export in exports.items():
            try:
                export(files[step])
                OnnxNetwork(files[step])
            except Exception as error:
                # torch's exporter raises many kinds of its own; any means: not to be served.
                raise BadInput(
                    fields[step],
                    f"cannot be exported ({type(error).__name__})",
                    "change the architecture",
                ) from error
        try:
            try_networks(files, interface, profile.serving)
        except ServerFailed as error:
            raise BadInput("serving", str(error), "change the architecture") from error
