"""A table's bytes to cells: what spreadsheets make of a CSV is read where only one reading is."""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path

from components.core.errors import BadInput

log = logging.getLogger(__name__)

SURPLUS = "cells beyond the header"
"""Key of a row's cells that have no column."""

_KNOWN = ("patient_id", "site", "t1c", "t2", "flair", "tumor_mask", "age", "sex", "idh", "grade",
          "codeletion", "split", "origin", "brain_mask", "spacing_source", "flags")  # fmt: skip
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SPREADSHEETS = {
    b"PK\x03\x04": "a spreadsheet (or another ZIP)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
}
_SAVE = "save it as CSV (UTF-8, separated by commas)"
_AGE_STRING = re.compile(r"(\d{3})Y")


def read_cells(path: Path, content: bytes) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Columns and rows of a manifest's bytes, as text.

    Commas, semicolons, tabs and bars are told apart by the header; known columns may be written in
    any case. What was taken that is not as documented is said in the log.

    Raises:
        BadInput: not text, a spreadsheet, or no CSV.
    """
    for magic, what in _SPREADSHEETS.items():
        if content.startswith(magic):
            raise BadInput(path, f"{what}, not a CSV", _SAVE)
    try:
        lines = _text(path, content).splitlines()
        separator = _separator(lines[0]) if lines else ","
        reader = csv.DictReader(lines, strict=True, restkey=SURPLUS, delimiter=separator)
        written = [name.strip() for name in reader.fieldnames or ()]
        columns = tuple(_known(name, written) for name in written)
        reader.fieldnames = list(columns)
        rows = list(reader)
    except csv.Error as error:
        raise BadInput(path, f"not a readable CSV ({error})", "save it as UTF-8 CSV") from error
    if separator != ",":
        log.warning("%s: read as separated by %s", path.name, _SEPARATORS[separator])
    for name, column in zip(written, columns, strict=True):
        if name != column:
            log.warning("%s: column '%s' is read as '%s'", path.name, name, column)
    return columns, rows


def _text(path: Path, content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInput(path, f"not a readable CSV ({error})", "save it as UTF-8 CSV") from error
    if "\0" in text:
        raise BadInput(path, "not a readable CSV (it holds zero bytes)", "save it as UTF-8 CSV")
    return text


def _separator(header: str) -> str:
    """What parts the header's names: whichever gives the most known columns; commas in doubt."""
    plain = header.replace('"', "").lower()
    found = {s: sum(n.strip() in _KNOWN for n in plain.split(s)) for s in _SEPARATORS}
    best = max(found, key=lambda s: (found[s], s == ","))
    return best if found[best] > 1 else ","


def _known(name: str, written: list[str]) -> str:
    """The known column that a name is but for case and spaces, unless that column stands there."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return plain if plain in _KNOWN and plain not in written else name


def years(cell: str) -> float:
    """A number, or DICOM's age string in years ("044Y"). Raises ValueError for anything else."""
    age = _AGE_STRING.fullmatch(cell)
    return float(age[1]) if age else float(cell)
