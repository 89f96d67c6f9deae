"""Who is who in a DICOM export: patients told apart, and the new identifiers they get."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.cohort.dicom.headers import Instance
from components.cohort.dicom.identity_files import IdentityFiles, scheme_of
from components.cohort.dicom.persons import (
    Person,
    differences,
    is_placeholder,
    is_words,
    remarks,
)
from components.cohort.manifest import PATIENT_ID
from components.cohort.table_text import normal_id
from components.core.errors import BadInput

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"P\d{4,15}")
"""An identifier without a key; one with a key has 16 hexadecimal digits."""


@dataclass(frozen=True)
class IdentifiedPatient:
    """One patient of an export: the identifier, the images, and remarks for the manifest."""

    name: str
    images: list[Instance]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """A person of an export.

    Attributes:
        source: names the person in the table: PatientID, and what tells namesakes apart.
        hashed: what a keyed identifier is made of; nothing where it would not be the person's own.
        namesakes: in what way others have the same PatientID; empty where nobody has.
    """

    source: str
    person: Person
    images: list[Instance]
    hashed: tuple[str, ...]
    namesakes: str = ""
    flags: tuple[str, ...] = ()


class Register:
    """Identifiers of the patients of `out`, kept beside it for its owner alone.

    Raises:
        BadInput: as IdentityFiles does.
    """

    def __init__(self, out: Path, *, key: bytes | None = None, keep_ids: bool = False) -> None:
        self._out, self._key, self._keep = out, key, keep_ids
        self._files = IdentityFiles(out, scheme_of(key, keep_ids=keep_ids), table=not keep_ids)

    @property
    def table(self) -> Path | None:
        """Who is who; None where PatientID is kept."""
        return self._files.table

    def identify(self, images: Iterable[Instance]) -> list[IdentifiedPatient]:
        """The patients of an export, by identifier; who is who is written before it is returned.

        Raises:
            BadInput: spellings of one PatientID that may be two persons'; identifiers are
                PatientIDs, and one is empty, no name of a folder, or several persons'; or they are
                keyed, and birth dates and sexes do not tell whose the studies of one PatientID are.
        """
        by_id: dict[str, list[Instance]] = defaultdict(list)
        for image in images:
            nobody = is_placeholder(image.patient)
            by_id["" if nobody else normal_id(image.patient)].append(image)
        found = [person for name, own in by_id.items() for person in self._people(name, own)]
        for flag, count in Counter(flag for person in found for flag in person.flags).items():
            log.warning("%d patients: %s", count, flag)
        silent = sum(not person.person.born for person in found)
        if self._key is not None and silent:
            log.warning("%d patients without a birth date: an export that tells it will give them "
                        "other identifiers", silent)  # fmt: skip
        named = self._named(found)
        persons = dict(self._files.persons)
        for one in found:
            before = persons.get(one.source)
            persons[one.source] = one.person if before is None else one.person.with_(before)
        self._files.write(named, persons)
        return [
            IdentifiedPatient(named[person.source], person.images, person.flags)
            for person in sorted(found, key=lambda person: named[person.source])
        ]

    def _people(self, name: str, images: list[Instance]) -> list[_Found]:
        """The persons behind one PatientID in its normal form; empty for placeholders."""
        known = {
            source: person
            for source, person in self._files.persons.items()
            if name in {normal_id(text) for text in person.ids}
        }
        studies = _by_study(images)
        whole = Person.of(images)
        if not name or self._is_weak(whole, known):
            return [_study_alone(own) for own in studies]
        told = differences(whole)
        if not told:
            return [self._known_or_new(name, images, known, "")]
        groups: dict[object, list[Instance]] = defaultdict(list)
        for own in studies:
            person = Person.of(own)
            born, sex = person.traits
            # A sex alone tells whose a study is where nobody's birth date is told.
            groups[person.traits if born or (sex and not whole.born) else person.studies] += own
        found = []
        for group, own in groups.items():
            sure = isinstance(group, tuple) and not differences(Person.of(own))
            found += (
                [self._known_or_new(name, own, known, told)]
                if sure
                else [_study_alone(study, min(whole.ids), told) for study in _by_study(own)]
            )
        return found

    def _is_weak(self, whole: Person, known: Mapping[str, Person]) -> bool:
        """Whether a PatientID of words alone, without a birth date, may be several people's."""
        weak = not whole.born and all(is_words(text) for text in whole.ids)
        studies = {study for person in (whole, *known.values()) for study in person.studies}
        return weak and (not self._keep or len(studies) > 1)

    def _known_or_new(
        self, name: str, images: list[Instance], known: Mapping[str, Person], told: str
    ) -> _Found:
        """Whom images show: one known by the study, or the only one that it can be; or a new one.

        `told`: in what way the export's images of this PatientID differ, if they do.
        """
        person = Person.of(images)
        fits = [source for source, one in known.items() if not differences(person, one)]
        alike = [source for source in fits if known[source].traits == person.traits]
        seen = [source for source in fits if known[source].studies & person.studies]
        chosen = alike if told else seen or alike or fits
        if known and not chosen and not told:
            told = differences(person, *known.values())
        if len(chosen) > 1:
            return _study_alone(images, min(person.ids), told or "which one is not told")
        self._refuse_spellings(person, *(known[source] for source in chosen))
        flags = remarks(person, *(known[source] for source in chosen))
        if told:
            flags.append(f"PatientID stands for several persons ({told})")
        source = min(person.ids) + (f" born {' '.join(person.traits)}".rstrip() if told else "")
        born, sex = person.traits
        # The year alone: some exports tell no more of a birth date.
        return _Found(chosen[0] if chosen else source, person, images, (name, born[:4], sex),
                      told, tuple(flags))  # fmt: skip

    def _refuse_spellings(self, *people: Person) -> None:
        """Raises BadInput where spellings of one PatientID may be two persons'."""
        spelt = sorted({text for person in people for text in person.ids})
        if len(spelt) > 1 and (self._keep or not all(person.born for person in people)):
            ids = " and ".join(f"'{text}'" for text in spelt)
            raise BadInput("PatientID", f"{ids} differ in case, spaces or leading zeros alone",
                           "write one person's ids alike, and give others other ids")  # fmt: skip

    def _named(self, found: Iterable[_Found]) -> dict[str, str]:
        """Source -> identifier, of those known and those found."""
        named = dict(self._files.names)
        number = self._last_number()
        for one in sorted(found, key=lambda one: one.source):
            if self._keep:
                named[one.source] = _kept(one)
            elif one.source not in named:
                number += 1
                named[one.source] = f"P{number:04d}" if self._key is None else self._hash(one)
        if len(set(named.values())) < len(named):
            raise BadInput("PatientID", "one of them stands for persons whom year of birth and sex "
                           "do not tell apart", "give each patient one id")  # fmt: skip
        return named

    def _hash(self, one: _Found) -> str:
        assert self._key is not None
        if not one.hashed:
            raise BadInput(
                "PatientID", f"one of them stands for several persons ({one.namesakes})",
                "leave out --pseudonym-key, or give each patient one id, or birth dates"
            )  # fmt: skip
        text = "\x1f".join(one.hashed).encode()
        return "P" + hmac.new(self._key, text, hashlib.sha256).hexdigest()[:16]

    def _last_number(self) -> int:
        """The highest number given, in the table or to a folder whose row somebody removed."""
        given = [*self._files.names.values(), *(folder.name for folder in self._out.glob("P*"))]
        return max((int(name[1:]) for name in given if _NUMBERED.fullmatch(name)), default=0)


def _by_study(images: Iterable[Instance]) -> list[list[Instance]]:
    groups: dict[str, list[Instance]] = defaultdict(list)
    for image in images:
        groups[image.study or image.series].append(image)
    return list(groups.values())


def _study_alone(images: list[Instance], patient: str = "", told: str = "") -> _Found:
    """A study that cannot be said to be any known person's, as a patient of its own.

    `patient`: the PatientID, where it names somebody, and `told` why that does not suffice.
    """
    person = Person.of(images)
    study = min(person.studies)
    flag = "a study taken for a patient: " + (
        f"PatientID stands for several persons ({told})" if patient else "no usable PatientID"
    )
    hashed = () if patient else (study,)
    return _Found(f"{patient} study {study}".strip(), person, images, hashed, told or flag, (flag,))


def _kept(one: _Found) -> str:
    if one.namesakes:
        raise BadInput("PatientID", f"one of them stands for several persons ({one.namesakes})",
                       "leave out --keep-ids, or give each patient one id")  # fmt: skip
    if not PATIENT_ID.fullmatch(one.source):
        raise BadInput(
            "PatientID", "one of them cannot be kept as patient_id", "leave out --keep-ids"
        )
    return one.source
