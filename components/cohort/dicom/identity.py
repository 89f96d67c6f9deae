"""Who is who in a DICOM export: patients told apart, and the new identifiers they get."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from components.cohort.dicom.headers import Instance
from components.cohort.manifest import PATIENT_ID
from components.core.errors import BadInput
from components.core.files import atomic, read_json

log = logging.getLogger(__name__)

BIRTH_YEAR_SLACK = 2
"""Years that a year of birth may differ by when it comes from ages at different dates."""

_PLACEHOLDER = re.compile(
    r"anon\w*|anonymi[sz]ed|de-?identified|unknown|none|null|n/?a|no[ _-]?id|removed|not available|"
    r"patient|patient ?id|test|dummy|empty|blank|0+|x+|-+|\?+|\*+|1|123|1234|12345|123456",
    re.IGNORECASE,
)


_COLUMNS = ["patient_id", "PatientID"]
_NUMBERED = re.compile(r"P\d{4,15}")
"""An identifier without a key; one with a key has 16 hexadecimal digits."""

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


class Register:
    """Identifiers of patients, kept beside the output for its owner alone.

    `table` (NAME-identities.csv) says who is who; NAME-persons.json beside it what birth dates and
    sexes an id stood for, so that a later export does not give it to another person. `table` is
    None where PatientID is kept.
    """

    def __init__(self, table: Path | None, key: bytes | None = None) -> None:
        self._table, self._key = table, key
        self._persons_file = (
            None
            if table is None
            else table.with_name(table.name.replace("identities.csv", "persons.json"))
        )
        known = self._persons_file is not None and self._persons_file.is_file()
        self._persons: dict[str, Any] = read_json(self._persons_file) if known else {}  # type: ignore[arg-type]

    def told_apart(self, images: Iterable[Instance]) -> dict[str, list[Instance]]:
        """What names a patient (PatientID, or that and a study) -> the images.

        Raises:
            BadInput: PatientID is to be kept, and stands for several persons or for none.
        """
        by_id: dict[str, list[Instance]] = defaultdict(list)
        for image in images:
            by_id["" if _PLACEHOLDER.fullmatch(image.patient) else image.patient].append(image)
        found: dict[str, list[Instance]] = defaultdict(list)
        for patient, own in by_id.items():
            told = contradiction(own) or self._contradicts_known(patient, own)
            if patient and not told:
                found[patient] = own
                continue
            if self._table is None:
                raise BadInput(
                    "PatientID",
                    f"one of them stands for several persons ({told})"
                    if told
                    else "some are empty",
                    "leave out --keep-ids, or give each patient one id",
                )
            for image in own:
                found[f"{patient} study {image.study or image.series}".strip()].append(image)
            count = len({image.study for image in own})
            what = f"an id that stands for several persons ({told})" if patient else "no usable id"
            log.warning("%s: %d studies, each taken for a patient of its own", what, count)
        return dict(found)

    def _contradicts_known(self, patient: str, images: list[Instance]) -> str:
        """In what way the images are of another person than the id stood for before, if so."""
        known = self._persons.get(patient)
        if known is None:
            return ""
        merged = [_person(images), known]
        return _differences(merged)

    def names(self, found: dict[str, list[Instance]]) -> dict[str, str]:
        """What names a patient -> identifier; written down before anything else is.

        Raises:
            BadInput: PatientID is to be kept, and cannot name a folder.
        """
        if self._table is None:
            return _kept(found)
        known: dict[str, str] = {}
        if self._table.is_file():
            known = _read_identities(self._table)
        first = self._last_number(known.values()) + 1
        for number, source in enumerate(sorted(set(found) - set(known)), start=first):
            known[source] = self._new_name(source, number)
        rows = sorted((name, source) for source, name in known.items())
        with _private(self._table) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(rows)
        persons = dict(self._persons)
        for source, images in found.items():
            told, before = _person(images), persons.get(source, {})
            persons[source] = {key: sorted({*told[key], *before.get(key, ())}) for key in told}
        assert self._persons_file is not None
        with _private(self._persons_file) as stream:
            json.dump(persons, stream, sort_keys=True)
        return {source: known[source] for source in found}

    def _last_number(self, names: Iterable[str]) -> int:
        """The highest number given, in the table or to a folder whose row somebody removed."""
        assert self._table is not None
        out = self._table.with_name(self._table.name.removesuffix("-identities.csv"))
        given = [*names, *(folder.name for folder in out.glob("P*"))]
        return max((int(name[1:]) for name in given if _NUMBERED.fullmatch(name)), default=0)

    def _new_name(self, source: str, number: int) -> str:
        if self._key is None:
            return f"P{number:04d}"
        return "P" + hmac.new(self._key, source.encode(), hashlib.sha256).hexdigest()[:16]


def _read_identities(table: Path) -> dict[str, str]:
    """PatientID -> identifier, as `names` wrote them."""
    with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.reader(stream))
    if not rows or rows[0] != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise BadInput(
            table, "not the table that ingest wrote", "restore it, or ingest into a new folder"
        )
    given = [name for name, _ in rows[1:]]
    if len(set(given)) != len(given):
        raise BadInput(
            table, "one identifier for several patients", "ingest all exports into a new folder"
        )
    return {source: name for name, source in rows[1:]}


def _kept(sources: Iterable[str]) -> dict[str, str]:
    for name in sources:
        if not PATIENT_ID.fullmatch(name):
            raise BadInput(
                "PatientID", "one of them cannot be kept as patient_id", "leave out --keep-ids"
            )
    return {name: name for name in sources}


@contextmanager
def _private(path: Path) -> Iterator[TextIO]:
    """A file that only its owner can read, whole or absent."""
    with atomic(path) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("w", newline="") as stream:
            yield stream


def contradiction(images: Iterable[Instance]) -> str:
    """In what way images of one id are of several persons; empty where nothing says so."""
    by_study: dict[str, list[Instance]] = defaultdict(list)
    for image in images:
        by_study[image.study].append(image)
    people = [_person(own) for own in by_study.values()]
    return _differences(people)


def _person(images: list[Instance]) -> dict[str, list[Any]]:
    """Birth dates, sexes and years of birth that images tell."""
    years = {
        int(image.date[:4]) - int(image.age)
        for image in images
        if image.age is not None and image.date[:4].isdigit()
    }
    return {
        "born": sorted({image.born for image in images if image.born}),
        "sex": sorted({image.sex for image in images if image.sex in ("M", "F")}),
        "years": sorted(years),
    }


def _differences(people: list[dict[str, list[Any]]]) -> str:
    found = []
    for name, words in (("born", "birth dates"), ("sex", "sexes")):
        values = {value for person in people for value in person[name]}
        if len(values) > 1:
            found.append(f"{len(values)} {words}")
    years = [year for person in people for year in person["years"]]
    if years and max(years) - min(years) > BIRTH_YEAR_SLACK:
        found.append(f"ages {max(years) - min(years)} years apart")
    return ", ".join(found)
