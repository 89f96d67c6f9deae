"""A table's bytes to cells: what spreadsheets make of a CSV is read where only one reading is."""

from __future__ import annotations

import codecs
import csv
import logging
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import BadInput

log = logging.getLogger(__name__)

SURPLUS = "cells beyond the header"
"""Key of a row's cells that have no column."""

_KNOWN = ("patient_id", "site", "t1c", "t2", "flair", "tumor_mask", "age", "sex", "idh", "grade",
          "codeletion", "split", "origin", "brain_mask", "spacing_source", "flags")  # fmt: skip
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAVE = "save it as CSV (UTF-8, separated by commas)"
_FORMATS = {
    b"PK\x03\x04": ("a spreadsheet (or another ZIP)", _SAVE),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet", _SAVE),
    b"\x1f\x8b": ("compressed by gzip", "unpack it"),
    b"PAR1": ("a Parquet file", _SAVE),
    b"bplist": ("a property list", _SAVE),
    b"%PDF": ("a PDF", _SAVE),
    b"<": ("HTML or XML, as some spreadsheets save under another name", _SAVE),
    b"{": ("JSON", _SAVE),
    b"[": ("JSON", _SAVE),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
}
"""First bytes of what is sometimes given for a CSV: what it is, and the remedy."""
_AGE = re.compile(r"0*(\d{1,3})(?:[.,](\d+))?\s*(?:y|yrs?|years?)?\.?", re.ASCII | re.IGNORECASE)
"""An age in years: 44, 44,5, 44 y, DICOM's 044Y."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNKNOWN = {"na", "n/a", "n.a.", "nan", "none", "null", "unknown", "unk", "missing", "-", "?"}
"""What tables write where nothing is known."""
_CLINICAL = ("age", "sex", "idh", "grade", "codeletion", "split")
_DECLARED = re.compile(r'"?sep=(.)"?')
"""First line by which a spreadsheet is told what separates the cells."""


@dataclass(frozen=True)
class TableCells:
    """Columns and rows of a table as text, and what was read otherwise than documented."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    notes: tuple[str, ...]


def read_cells(path: Path, content: bytes) -> TableCells:
    """Columns and rows of a manifest's bytes, as text.

    Commas, semicolons, tabs and bars are told apart by the header, or by a first line `sep=;`;
    known columns may be written in any case. Empty rows, and empty columns without a name, are
    passed over. What was taken that is not as documented is logged.

    Raises:
        BadInput: not text, a spreadsheet, or no CSV.
    """
    start = content[:64].removeprefix(codecs.BOM_UTF8).lstrip()
    for magic, (what, remedy) in _FORMATS.items():
        if start.startswith(magic):
            raise BadInput(path, f"{what}, not a CSV", remedy)
    lines = _text(path, content).splitlines()
    while lines and not lines[0].strip():
        lines.pop(0)
    declared = _DECLARED.fullmatch(lines[0].strip()) if lines else None
    if declared:
        lines.pop(0)
    separator = declared[1] if declared else _separator(lines[0]) if lines else ","
    try:
        reader = csv.DictReader(lines, strict=True, restkey=SURPLUS, delimiter=separator)
        written = [name.strip() for name in reader.fieldnames or ()]
        # A name for each column until it is known which ones are empty.
        named = [name or f"column {index}" for index, name in enumerate(written, 1)]
        columns = [_known(name, written) for name in named]
        reader.fieldnames = columns
        read = list(reader)
    except csv.Error as error:
        raise BadInput(path, f"not a readable CSV ({error})", "save it as UTF-8 CSV") from error
    rows = [row for row in read if any(_cell(value) for value in row.values())]
    kept = [c for c, name in zip(columns, written, strict=True)
            if name or any(_cell(row.get(c)) for row in rows)]  # fmt: skip
    notes = [f"column '{name}' is read as '{column}'"
             for name, column in zip(named, columns, strict=True) if name != column]  # fmt: skip
    if separator != ",":
        notes.insert(0, f"read as separated by {_SEPARATORS.get(separator, repr(separator))}")
    if len(rows) < len(read):
        notes.append(f"{len(read) - len(rows)} empty rows were passed over")
    for note in notes:
        log.warning("%s: %s", path.name, note)
    return TableCells(tuple(kept), rows, tuple(notes))


def _cell(value: str | list[str] | None) -> str:
    """A cell's text, or that of all cells beyond the header."""
    return "".join(value or ()).strip()


def _text(path: Path, content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and 0 in content[:2] and any(content[:2]):
        encoding = "utf-16-be" if content[0] == 0 else "utf-16-le"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"not a readable CSV (line {line} has letters that are not UTF-8)"
        raise BadInput(path, problem, _SAVE) from error
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
    plain = re.sub(r"[\s-]+", "_", unicodedata.normalize("NFKC", name).strip().lower())
    return plain if plain in _KNOWN and plain not in written else name


def decimal(cell: str) -> float:
    """A decimal number. Raises ValueError for anything else, "1_000" and "inf" among it."""
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"no number: {cell}")
    return float(cell)


def plain_cells(rows: Iterable[dict[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """Rows whose clinical cells are written as documented where they can only mean one thing.

    Ages with a unit or a decimal comma become numbers, words for "unknown" empty cells.

    Returns:
        The rows, and a sentence for each spelling that was read otherwise than it stands.
    """
    found: list[dict[str, str]] = []
    notes: dict[str, None] = {}
    for row in rows:
        plain = {name: _plain(name, row[name]) for name in _CLINICAL if name in row}
        for name, cell in plain.items():
            if cell != row[name]:
                notes[f"column {name}: '{row[name]}' is read as {cell or 'unknown'}"] = None
        found.append(row | plain)
    return found, list(notes)


def _plain(column: str, cell: str) -> str:
    if cell.lower() in _UNKNOWN:
        return ""
    age = _AGE.fullmatch(cell) if column == "age" and not _NUMBER.fullmatch(cell) else None
    return f"{age[1]}.{age[2]}" if age and age[2] else age[1] if age else cell


def normal_id(text: str) -> str:
    """An identifier without what is lost by retyping: case, spaces, leading zeros, wide letters."""
    plain = re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).casefold()
    return plain.lstrip("0") or plain


def repeats(name: str, before: dict[str, str]) -> str:
    """What is wrong with a second row of one patient; empty for the first.

    `before`: normal forms of the identifiers so far, and how they were written; added to.
    """
    first = before.get(normal_id(name))
    if first is None:
        before[normal_id(name)] = name
        return ""
    if first == name:
        return f"patient_id '{name}' stands twice"
    return f"patient_id '{name}' differs from '{first}' in case or leading zeros alone"
