"""The cohort manifest: a CSV with one row a patient, and what each of its cells may hold."""

from __future__ import annotations

import difflib
import hashlib
import logging
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from components.cohort.table_text import SURPLUS, decimal, plain_cells, read_cells
from components.core.errors import BadInput
from components.core.files import read_json
from components.core.s3 import SCHEME, is_remote, local_copy, parent_of
from components.core.tables import write_csv
from components.core.vocabulary import Idh, Origin, Sequence, Sex, Split

T = TypeVar("T")
log = logging.getLogger(__name__)

REQUIRED_COLUMNS = ("patient_id", "site", "t1c", "flair", "age", "idh")
"""Columns a manifest must have; a cell may still be empty."""

OPTIONAL_COLUMNS = ("t2", "tumor_mask", "sex", "grade", "codeletion", "split", "origin")

COLUMNS = ("patient_id", "site", "t1c", "t2", "flair", "tumor_mask", "age", "sex", "idh", "grade",
           "codeletion", "split", "origin")  # fmt: skip
"""All known columns, in the order they are written. Others are carried along after them."""

_MEANINGS = {
    "idh": "write 1 for mutant, 0 for wildtype, or leave the cell empty for unknown",
    "codeletion": "write 1 for codeleted, 0 for intact, or leave the cell empty for unknown",
}

DIGESTS_FILE = "images.csv"
"""Beside an accepted.csv: the sha256 of each image, as validation read it."""

DIGEST_COLUMNS = ("patient_id", "image", "sha256")

BRAIN_MASK = "brain_mask"
"""Extra column: path of a brain mask in the T1C's space."""

IMAGE_COLUMNS = (*(sequence.value for sequence in Sequence), "tumor_mask")
PATH_COLUMNS = (*IMAGE_COLUMNS, BRAIN_MASK)
"""Columns that hold paths: the known ones, and all."""

COHORT = "cohort"
"""Column that says, in a manifest of several cohorts, which one a row came from."""

FLAGS = "flags"
"""Extra column of remarks on a patient, repeated as a warning."""

BASES_SUFFIX = ".bases.json"
"""NAME.csv with NAME.bases.json beside it: its relative paths start where that file says."""

PATIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
AGE_YEARS = (18.0, 110.0)
"""Accepted ages; the paper enrols from 18 years on."""


@dataclass(frozen=True)
class Patient:
    """One row of a manifest.

    Image paths are absolute paths or s3:// addresses of a NIfTI file or a DICOM series folder.
    `age` is in years; None where unknown. `extra` holds the columns we do not know, untouched but
    for the path of a brain mask, which is absolute, too.
    """

    patient_id: str
    site: str
    t1c: str | None
    t2: str | None
    flair: str | None
    tumor_mask: str | None = None
    age: float | None = None
    sex: Sex | None = None
    idh: Idh | None = None
    grade: int | None = None
    codeletion: int | None = None
    split: Split | None = None
    origin: Origin = Origin.PATIENTS
    extra: dict[str, str] = field(default_factory=dict)

    def path_of(self, sequence: Sequence) -> str | None:
        """Path of one sequence, None where the manifest has none."""
        return getattr(self, sequence.value)


@dataclass(frozen=True)
class ManifestTable:
    """A manifest as read: cells are still text, so that one bad row does not hide the others.

    `base` is what relative paths are relative to: a folder, or an s3:// address. `bases` has one a
    cohort where the rows of several were brought together. `longer` are the rows (0-based) with
    more cells than the header has: a comma too many shifts what stands behind it. `notes`: what was
    read otherwise than documented.
    """

    path: Path
    base: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    sha256: str
    bases: Mapping[str, str] = field(default_factory=dict)
    longer: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    def location(self, index: int, column: str) -> str | None:
        """Absolute path or s3:// address in one of PATH_COLUMNS of row `index`; None if empty."""
        row = self.rows[index]
        return _absolute(self.bases.get(row.get(COHORT, ""), self.base), row.get(column))


def read_table(path: Path | str) -> ManifestTable:
    """Read a manifest's cells as text, checking only what concerns the whole file.

    Raises BadInput: no such file, not a CSV, no rows, or a required column missing or misspelt.
    """
    base = parent_of(str(path)) if is_remote(path) else str(Path(path).parent)
    path = local_copy(path)
    if not path.is_file():
        raise BadInput(path, "no such manifest", "give the path of a CSV file")
    content = path.read_bytes()
    cells = read_cells(path, content)
    _check_columns(path, cells.columns)
    written = ({n: (row.get(n) or "").strip() for n in cells.columns} for row in cells.rows)
    rows, notes = plain_cells(written)
    for note in notes:
        log.warning("%s: %s", path.name, note)
    longer = frozenset(n for n, row in enumerate(cells.rows) if SURPLUS in row)
    if not rows:
        raise BadInput(path, "the manifest has no rows", "add one row a patient")
    digest = hashlib.sha256(content).hexdigest()
    return ManifestTable(
        path, base, cells.columns, tuple(rows), digest, _read_bases(path, base), longer,
        (*cells.notes, *notes),
    )  # fmt: skip


def bases_file(manifest: Path) -> Path:
    """Where the bases of a manifest of several cohorts stand: cohort -> folder or s3:// address."""
    return manifest.with_suffix(BASES_SUFFIX)


def _read_bases(manifest: Path, base: str) -> dict[str, str]:
    """Bases beside a manifest on disk; relative ones start at its own folder."""
    file = bases_file(manifest)
    kept = {} if is_remote(base) or not file.is_file() else read_json(file)
    return {cohort: _absolute(base, place) or base for cohort, place in kept.items()}


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    for name in REQUIRED_COLUMNS:
        if name in columns:
            continue
        near = difflib.get_close_matches(name, [c for c in columns if c not in COLUMNS], n=1)
        remedy = f"rename column '{near[0]}' to '{name}'" if near else f"add a column '{name}'"
        raise BadInput(path, f"required column '{name}' is missing", remedy)
    for name in columns:
        near = difflib.get_close_matches(name, OPTIONAL_COLUMNS, n=1, cutoff=0.85)
        if name not in COLUMNS and near and near[0] not in columns:
            raise BadInput(
                path,
                f"column '{name}' looks like '{near[0]}' misspelt",
                f"rename it to '{near[0]}'",
            )
    if len(set(columns)) != len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise BadInput(path, f"column '{twice}' stands twice", "remove one of them")


def parse_patient(table: ManifestTable, index: int) -> Patient:
    """Turn row `index` (0-based) of a table into a Patient.

    Raises:
        BadInput: a cell cannot be read; the message names row (1-based, header not counted),
            column, value and remedy.
    """
    row = table.rows[index]
    where = f"{table.path.name}, row {index + 1}"
    if index in table.longer:
        raise BadInput(
            f"{where}, column {table.columns[-1]}",
            "more cells than the header has columns",
            "put quotes around a cell that holds a comma",
        )
    cell = _Cells(where, row)
    extra = {n: v for n, v in row.items() if n not in COLUMNS}
    if BRAIN_MASK in extra:
        extra[BRAIN_MASK] = table.location(index, BRAIN_MASK) or ""
    return Patient(
        patient_id=cell.identifier(),
        site=row.get("site", ""),
        t1c=table.location(index, "t1c"),
        t2=table.location(index, "t2"),
        flair=table.location(index, "flair"),
        tumor_mask=table.location(index, "tumor_mask"),
        age=cell.number("age", AGE_YEARS, "give the age in years, 18 to 110"),
        sex=cell.choice("sex", {s.value: s for s in Sex}),
        idh=cell.choice("idh", {"1": Idh.MUTANT, "0": Idh.WILDTYPE}),
        grade=cell.choice("grade", {"2": 2, "3": 3, "4": 4}),
        codeletion=cell.choice("codeletion", {"1": 1, "0": 0}),
        split=cell.choice("split", {s.value: s for s in Split}),
        origin=cell.choice("origin", {o.value: o for o in Origin}) or Origin.PATIENTS,
        extra=extra,
    )


def read_manifest(path: Path | str) -> list[Patient]:
    """Read a manifest whose every row must be right. Raises BadInput at the first that is not."""
    table = read_table(path)
    return [parse_patient(table, index) for index in range(len(table.rows))]


def write_manifest(path: Path | str, patients: Iterable[Patient]) -> None:
    """Write a manifest atomically; image paths below its folder become relative to it."""
    below = f"{Path(path).parent.resolve()}/"
    rows = [as_row(patient) for patient in patients]
    for row in rows:
        row.update({n: row[n].removeprefix(below) for n in PATH_COLUMNS if n in row})
    write_rows(path, rows)


def write_rows(path: Path | str, rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows of text as a manifest, atomically: the known columns, then all others."""
    rows = list(rows)
    extra = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    write_csv(path, [*COLUMNS, *extra], rows)


def as_row(patient: Patient) -> dict[str, str]:
    """A patient's cells as text, paths as they are."""
    row = {}
    for name in COLUMNS:
        value = getattr(patient, name)
        row[name] = "" if value is None else str(getattr(value, "value", value))
    return {**row, **patient.extra}


def _absolute(base: str, cell: str | None) -> str | None:
    if not cell:
        return None
    if is_remote(cell):
        return cell
    if is_remote(base) and not cell.startswith("/"):
        bucket, _, prefix = base.removeprefix(SCHEME).partition("/")
        return f"{SCHEME}{bucket}{posixpath.normpath(posixpath.join('/', prefix, cell))}"
    return str((Path(base) / cell).resolve())


@dataclass(frozen=True)
class _Cells:
    """Cells of one row, read with errors that say where they stand."""

    where: str
    row: dict[str, str]

    def identifier(self) -> str:
        value = self.row.get("patient_id", "")
        if not PATIENT_ID.fullmatch(value):
            raise BadInput(
                f"{self.where}, column patient_id",
                f"'{value}' is not a usable identifier",
                "use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit",
            )
        return value

    def number(self, column: str, bounds: tuple[float, float], remedy: str) -> float | None:
        value = self.row.get(column, "")
        if not value:
            return None
        try:
            found = decimal(value)
        except ValueError:
            raise BadInput(
                f"{self.where}, column {column}", f"'{value}' is not a number", remedy
            ) from None
        if not bounds[0] <= found <= bounds[1]:
            raise BadInput(f"{self.where}, column {column}", f"{value} is out of range", remedy)
        return found

    def choice(self, column: str, words: dict[str, T]) -> T | None:
        value = self.row.get(column, "")
        if not value:
            return None
        # Spreadsheets and pandas write 1 as 1.0, or 1,0, where a cell of its column is empty.
        word = value.removesuffix(".0").removesuffix(",0")
        if word not in words:
            allowed = ", ".join(words)
            raise BadInput(
                f"{self.where}, column {column}",
                f"'{value}' is not one of {allowed}",
                _MEANINGS.get(column, "use one of these, or leave the cell empty for unknown"),
            )
        return words[word]
