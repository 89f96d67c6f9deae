"""CSV tables: one format for every table that a step writes or reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from components.core.files import atomic

Row = Mapping[str, object] | Sequence[object]
"""Cells by column, or in the order of the columns."""


def write_csv(
    path: Path | str, columns: Sequence[str], rows: Iterable[Row], *, mode: int | None = None
) -> None:
    """Write a header and rows atomically as UTF-8, lines ending in a line feed.

    None, and a column that a mapping lacks, is an empty cell.

    Args:
        mode: permissions of the file; the process's default when None.

    Raises:
        ValueError: a mapping has a cell outside `columns`.
    """
    with atomic(path) as temporary:
        if mode is not None:
            temporary.touch(mode=mode)
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            by_name = csv.DictWriter(stream, columns, lineterminator="\n")
            by_place = csv.writer(stream, lineterminator="\n")
            by_name.writeheader()
            for row in rows:
                if isinstance(row, Mapping):
                    by_name.writerow(row)
                else:
                    by_place.writerow(row)


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """Rows of a UTF-8 CSV as text, with or without a byte order mark."""
    with Path(path).open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def write_records(path: Path | str, record: type, rows: Iterable[Mapping[str, object]]) -> None:
    """As `write_csv`, with the fields of the dataclass `record` as columns."""
    write_csv(path, [f.name for f in fields(record)], rows)
