"""The two files beside an ingested cohort that say who is who, for its owner alone."""

from __future__ import annotations

import csv
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from components.cohort.dicom.persons import Person
from components.core.errors import BadInput
from components.core.files import atomic

_COLUMNS = ["patient_id", "PatientID"]
_MISSING = "missing, though patients were ingested before"
_RESTORE = "restore it, or ingest all exports into a new folder"

MIN_KEY_BYTES = 16
"""A shorter secret could be guessed, and with it every patient's number."""


def read_key(path: Path) -> bytes:
    """The secret of keyed identifiers. Raises BadInput for a file that is missing or too short."""
    if not path.is_file():
        raise BadInput(path, "no such file", "give a file with a secret of 16 bytes or more")
    key = path.read_bytes().strip()
    if len(key) < MIN_KEY_BYTES:
        raise BadInput(path, f"a secret of {len(key)} bytes", "give one of 16 bytes or more")
    return key


class KnownPersons(BaseModel):
    """NAME-persons.json: what the sources in NAME-identities.csv stood for, exports before.

    Attributes:
        scheme: how identifiers are made; one folder has one.
        persons: source (a PatientID, with what tells namesakes apart) -> what is known of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str
    persons: dict[str, Person] = {}


class IdentityFiles:
    """NAME-identities.csv says who is who; NAME-persons.json what each identifier stood for.

    Attributes:
        table: NAME-identities.csv; None where PatientID is kept.
        names: source -> identifier, as the table has it.
        persons: source -> what is known of it.

    Raises:
        BadInput: either file is damaged, or missing beside patients that were ingested before; or
            those were named in another way (another key, or none).
    """

    def __init__(self, out: Path, scheme: str, *, table: bool) -> None:
        self.table = out.with_name(f"{out.name}-identities.csv") if table else None
        self._file = out.with_name(f"{out.name}-persons.json")
        self._out, self._scheme = out, scheme
        self.names = {} if self.table is None else _read_identities(self.table)
        self.persons = dict(self._read_persons())

    def _read_persons(self) -> Mapping[str, Person]:
        settled = any(self._out.glob("*/*.nii.gz"))
        if not self._file.is_file():
            if settled or self.names:
                raise BadInput(self._file, _MISSING, _RESTORE)
            return {}
        try:
            known = KnownPersons.model_validate_json(self._file.read_bytes())
        except ValidationError:
            raise BadInput(self._file, "not the file that ingest wrote", _RESTORE) from None
        if known.scheme != self._scheme:
            raise BadInput(self._out, "its patients were named in another way (--keep-ids, "
                           "--pseudonym-key with another key, or neither)",
                           "name them the same way, or give another --out")  # fmt: skip
        if settled and self.table is not None and not self.table.is_file():
            raise BadInput(self.table, _MISSING, _RESTORE)
        return known.persons

    def write(self, names: Mapping[str, str], persons: Mapping[str, Person]) -> None:
        """Write both, persons first: names without them could be given to others."""
        known = KnownPersons(scheme=self._scheme, persons=dict(persons))
        with _private(self._file) as stream:
            stream.write(known.model_dump_json())
        if self.table is not None:
            rows = sorted((name, source) for source, name in names.items())
            with _private(self.table) as stream:
                csv.writer(stream, lineterminator="\n").writerows([_COLUMNS, *rows])


def scheme_of(key: bytes | None, *, keep_ids: bool) -> str:
    """How identifiers are made, in a word; of a key its own fingerprint, not the key."""
    if keep_ids:
        return "PatientID"
    if key is None:
        return "numbers"
    return "key " + hmac.new(key, b"which key", hashlib.sha256).hexdigest()[:16]


def _read_identities(table: Path) -> dict[str, str]:
    """PatientID -> identifier, as `write` made it; empty where there is no table."""
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error):
        rows = []
    if not rows or rows[0] != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise BadInput(table, "not the table that ingest wrote", _RESTORE)
    given = [name for name, _ in rows[1:]]
    if len(set(given)) != len(given):
        raise BadInput(table, "one identifier for several patients", _RESTORE)
    return {source: name for name, source in rows[1:]}


@contextmanager
def _private(path: Path) -> Iterator[TextIO]:
    """A file that only its owner can read, whole or absent."""
    with atomic(path) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            yield stream
