"""A public release, as it was downloaded -> a manifest."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence as Several
from dataclasses import dataclass
from pathlib import Path

from components.cohort.manifest import Patient, write_manifest
from components.cohort.public_datasets.layouts import RELEASES, DatasetLayout
from components.cohort.public_datasets.terms import (
    CODELETION_WORDS,
    GRADE_WORDS,
    IDH_WORDS,
    SEX_WORDS,
    T,
    age_in_years,
    translate,
)
from components.core.errors import BadInput
from components.core.tables import write_csv
from components.core.vocabulary import Idh, Sequence

Row = Mapping[str, str]


@dataclass(frozen=True)
class Adapted:
    """What `adapt` wrote.

    Attributes:
        left_out: table of the examinations that are no row of the manifest, with the reason.
        with_images: patients for whom T1C, T2 and FLAIR were found.
    """

    manifest: Path
    left_out: Path | None
    patients: int
    mutant: int
    wildtype: int
    with_images: int
    left_out_rows: int


def adapt(release: str, images: Path, tables: Several[Path], out: Path) -> Adapted:
    """Write the manifest of a release: one row a patient of its table, at the first examination.

    A patient whose images are not (yet) there has a row without them. What is no row of the
    manifest (scans after surgery) is listed in `out`-left-out.csv, so that no examination is lost.

    Args:
        release: a name of RELEASES.
        images: folder below which the release's NIfTI files lie, at any depth.
        tables: its metadata as CSV; several are joined by their identifier.

    Raises:
        BadInput: an unknown release, folder, column, or a word for IDH, sex, grade, 1p/19q or age
            that is not in the tables above.
    """
    if release not in RELEASES:
        raise BadInput(release, "not a known release", f"use one of {', '.join(RELEASES)}")
    if not images.is_dir():
        raise BadInput(images, "no such folder", "give the folder of the release's images")
    known = RELEASES[release]
    rows = _join([_read(known, table) for table in tables])
    files = _index(known, images)
    patients: list[Patient] = []
    left: list[tuple[str, str, str]] = []
    for name, row in rows.items():
        patient_id, why = known.patient(name)
        idh = _idh(known, name, row)
        if why:
            left.append((name, "" if idh is None else str(int(idh)), why))
        else:
            patients.append(_patient(known, patient_id, name, row, idh, files[known.key(name)]))
    write_manifest(out, patients)
    return Adapted(
        manifest=out,
        left_out=_write_left_out(out, left) if left else None,
        patients=len(patients),
        mutant=sum(patient.idh is Idh.MUTANT for patient in patients),
        wildtype=sum(patient.idh is Idh.WILDTYPE for patient in patients),
        with_images=sum(all(map(patient.path_of, Sequence)) for patient in patients),
        left_out_rows=len(left),
    )


def _read(release: DatasetLayout, table: Path) -> dict[str, Row]:
    if not table.is_file():
        raise BadInput(table, "no such table", "give the release's metadata as CSV")
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(table, f"not a readable CSV ({error})", "save it as UTF-8 CSV") from None
    columns = list(rows[0]) if rows else []
    column = next((name for name in release.identifier if name in columns), None)
    if column is None:
        wanted = " or ".join(release.identifier)
        raise BadInput(table, f"no column {wanted}", f"give the metadata of {release.name}")
    found: dict[str, Row] = {}
    for row in rows:
        name = (row[column] or "").strip()
        if name in found:
            raise BadInput(table, f"'{name}' stands twice", "keep one row an examination")
        found[name] = {key: (value or "").strip() for key, value in row.items() if key}
    return found


def _join(tables: list[dict[str, Row]]) -> dict[str, Row]:
    joined: dict[str, dict[str, str]] = defaultdict(dict)
    for table in tables:
        for name, row in table.items():
            joined[name].update(row)
    return dict(joined)


def _index(release: DatasetLayout, images: Path) -> dict[str, list[Path]]:
    """Examination key -> its NIfTI files, sorted."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(images.rglob("*.nii*")):
        keys = release.in_path.findall(path.relative_to(images).as_posix())
        if keys and path.is_file():
            found[release.key(keys[-1])].append(path)
    return found


def _patient(
    release: DatasetLayout, patient_id: str, name: str, row: Row, idh: Idh | None, files: list[Path]
) -> Patient:
    found = {role: _pick(files, endings) for role, endings in release.files.items()}
    return Patient(
        patient_id=patient_id,
        site=release.site(patient_id),
        t1c=found["t1c"],
        t2=found["t2"],
        flair=found["flair"],
        tumor_mask=found["tumor_mask"],
        age=_age(release, name, row),
        sex=_word(release, name, row, release.sex, SEX_WORDS),
        idh=idh,
        grade=release.grade_of_all or _word(release, name, row, release.grade, GRADE_WORDS),
        codeletion=_word(release, name, row, release.codeletion, CODELETION_WORDS),
        extra={"examination": name},
    )


def _pick(files: list[Path], endings: tuple[str, ...]) -> str | None:
    for ending in endings:
        for path in files:
            if path.name.removesuffix(".gz").removesuffix(".nii").endswith(ending):
                return str(path.resolve())
    return None


def _idh(release: DatasetLayout, name: str, row: Row) -> Idh | None:
    """Mutant if any gene is, wildtype if all that the table has are, else unknown."""
    columns = [column for column in release.idh if column in row]
    if not columns:
        raise BadInput(
            release.name, f"no column {' or '.join(release.idh)}", "give the table with IDH status"
        )
    told = [_word(release, name, row, (column,), IDH_WORDS) for column in columns]
    if Idh.MUTANT in told:
        return Idh.MUTANT
    return Idh.WILDTYPE if set(told) == {Idh.WILDTYPE} else None


def _word(
    release: DatasetLayout, name: str, row: Row, columns: tuple[str, ...], words: Mapping[str, T]
) -> T | None:
    column = next((column for column in columns if column in row), None)
    return None if column is None else translate(_where(release, name, column), row[column], words)


def _age(release: DatasetLayout, name: str, row: Row) -> float | None:
    column = next((column for column in release.age if column in row), None)
    return None if column is None else age_in_years(_where(release, name, column), row[column])


def _where(release: DatasetLayout, name: str, column: str) -> str:
    return f"{release.name}, {name}, column {column}"


def _write_left_out(out: Path, rows: list[tuple[str, str, str]]) -> Path:
    path = out.with_name(f"{out.stem}-left-out.csv")
    write_csv(path, ["examination", "idh", "reason"], rows)
    return path
