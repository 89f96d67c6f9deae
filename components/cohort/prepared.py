"""The prepared case: one patient's volumes on the network grid, and how it lies on disk.

A case is a folder: `case.json` (who, where in space, how it was made), `volumes.npy` (float16,
memory-mappable) and `masks.npz` (bit-packed). A prepared set is a folder of such folders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from components.core.errors import BadInput
from components.core.files import atomic, read_json, write_arrays, write_json
from components.core.imaging.grid import Grid
from components.core.vocabulary import Idh, Origin, Sequence, Sex, Split


@dataclass(frozen=True)
class PreparedCase:
    """One patient ready for the networks.

    Attributes:
        patient_id, age (years), sex, idh, grade, codeletion, site, origin: as in the manifest.
        subset: "training", "tuning", "internal", or the name of an external cohort.
        fold: cross-validation fold of a development patient (0-based), None elsewhere.
        sequences: channel order of `volumes`.
        volumes: float16 (channel, z, y, x) on `grid`; z-scores over the whole brain, not clipped
            beyond float16's range, exactly 0 outside the brain (outside the field of view, where
            the plan does not strip).
        brain: bool (z, y, x) on `grid`.
        tumor: bool (z, y, x) on `grid`, the manual whole-tumour mask; None where there is none.
        tumor_working: bool (z, y, x) on `working`, the same mask; None where there is none.
        grid: the network grid (cubic), in the T1C's LPS space.
        working: the isotropic grid (1 mm in the paper) cropped to the same box as `grid`; shape and
            loci features are taken here.
        native: the T1C's own grid, to which masks are returned.
        to_mni: 4x4 matrix, LPS mm in the T1C's space -> LPS mm in MNI152.
        plan_digest: sha256 of the PreprocessingPlan that made this case.
        quality: named numbers about the preparation (alignment similarity, brain volume in mL ...).
        warnings: sentences a reader of the prediction must see.
    """

    patient_id: str
    site: str
    subset: str
    fold: int | None
    age: float | None
    sex: Sex | None
    idh: Idh | None
    grade: int | None
    codeletion: int | None
    origin: Origin
    sequences: tuple[Sequence, ...]
    volumes: np.ndarray
    brain: np.ndarray
    tumor: np.ndarray | None
    tumor_working: np.ndarray | None
    grid: Grid
    working: Grid
    native: Grid
    to_mni: np.ndarray
    plan_digest: str
    quality: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def in_development(self) -> bool:
        """Whether the patient is of the cohort that is learnt from."""
        return self.subset in {split.value for split in Split}

    def volume(self, sequence: Sequence) -> np.ndarray:
        """float32 (z, y, x) of one sequence. Raises BadInput when the case lacks it."""
        if sequence not in self.sequences:
            raise BadInput(
                f"patient {self.patient_id}",
                f"no {sequence.value} among its prepared sequences",
                "prepare the patient with a profile that requires it",
            )
        return np.asarray(self.volumes[self.sequences.index(sequence)], dtype=np.float32)


_GRIDS = ("grid", "working", "native")
_PLAIN = ("patient_id", "site", "subset", "fold", "age", "grade", "codeletion", "plan_digest")


def write_case(folder: Path | str, case: PreparedCase) -> Path:
    """Write `case` to `folder`/patient_id, whole or not at all; returns that path."""
    target = Path(folder) / case.patient_id
    with atomic(target) as temporary:
        temporary.mkdir()
        np.save(temporary / "volumes.npy", case.volumes.astype(np.float16))
        masks = {"brain": case.brain, "tumor": case.tumor, "tumor_working": case.tumor_working}
        packed = {k: np.packbits(v.astype(bool)) for k, v in masks.items() if v is not None}
        write_arrays(temporary / "masks.npz", packed)
        write_json(temporary / "case.json", _describe(case))
    return target


def _describe(case: PreparedCase) -> dict[str, Any]:
    return {
        **{name: getattr(case, name) for name in _PLAIN},
        **{name: getattr(case, name).to_json() for name in _GRIDS},
        "sex": case.sex.value if case.sex else None,
        "idh": None if case.idh is None else int(case.idh),
        "origin": case.origin.value,
        "sequences": [sequence.value for sequence in case.sequences],
        "to_mni": np.asarray(case.to_mni, dtype=float).tolist(),
        "quality": case.quality,
        "warnings": list(case.warnings),
    }


def read_case(path: Path | str) -> PreparedCase:
    """Read one case; its volumes stay on disk (memory-mapped, read-only) until they are used.

    Raises:
        BadInput: the folder is not a whole prepared case.
    """
    path = Path(path)
    try:
        content = read_json(path / "case.json")
        volumes = np.load(path / "volumes.npy", mmap_mode="r", allow_pickle=False)
        with np.load(path / "masks.npz", allow_pickle=False) as archive:
            packed = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadInput(
            path, f"not a prepared case ({error})", "run the preprocessing again"
        ) from None
    grids = {name: Grid.from_json(content[name]) for name in _GRIDS}
    plain: dict[str, Any] = {name: content[name] for name in _PLAIN}
    return PreparedCase(
        **plain,
        grid=grids["grid"],
        working=grids["working"],
        native=grids["native"],
        sex=Sex(content["sex"]) if content["sex"] else None,
        idh=None if content["idh"] is None else Idh(content["idh"]),
        origin=Origin(content["origin"]),
        sequences=tuple(Sequence(name) for name in content["sequences"]),
        volumes=volumes,
        brain=_unpack(packed["brain"], grids["grid"]),
        tumor=_unpack(packed["tumor"], grids["grid"]) if "tumor" in packed else None,
        tumor_working=(
            _unpack(packed["tumor_working"], grids["working"])
            if "tumor_working" in packed
            else None
        ),
        to_mni=np.array(content["to_mni"]),
        quality=content["quality"],
        warnings=tuple(content["warnings"]),
    )


def _unpack(bits: np.ndarray, grid: Grid) -> np.ndarray:
    count = int(np.prod(grid.shape))
    return np.unpackbits(bits, count=count).astype(bool).reshape(grid.shape)


def read_cases(folders: Iterable[Path | str]) -> list[PreparedCase]:
    """Read every case below the given prepared sets, sorted by patient_id."""
    paths = [file.parent for folder in folders for file in Path(folder).glob("*/case.json")]
    return sorted((read_case(path) for path in paths), key=lambda case: case.patient_id)
