"""What headers tell of a person, and whether two of them may be one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.cohort.dicom.headers import Instance, read_instances
from components.cohort.images import is_dicom
from components.cohort.table_text import normal_id
from components.core.s3 import local_copy

BIRTH_YEAR_SLACK = 2
"""Years that a year of birth may differ by when it comes from ages at different dates."""

_PLACEHOLDER = re.compile(
    r"anon\w*([\W_]+(patient|name|subject|id|anon\w*))?|pseudonym\w*|de-?identified|unknown|unbekannt|"
    r"inconnue?|desconocid[oa]|sconosciut[oa]|(no|kein|sans|sin)[\W_]*(name|nom|nombre|id)|nan|nil|none|"
    r"null|n/?a|removed|redacted|deleted|hidden|not available|undefined|(test|dummy|(the )?patient|"
    r"subject)([\W_]*(patient|name|id|subject|test))?[\W_]*0*|empty|blank|x+|[\W_]*|匿名|未知|不明|익명|"
    r"0+|1|12|123|1234|12345|123456|1234567|12345678|123456789|1234567890|9{3,}|(?P<same>\d)(?P=same){3,}",
    re.IGNORECASE,
)
"""Values of PatientID that name nobody."""
_EARLIEST, _LATEST = "1901", "2100"
"""Years of birth; 1900-01-01 and 0001-01-01 are what software writes for none."""


class Person(BaseModel):
    """What some studies tell of one person; as kept beside an ingested cohort.

    Attributes:
        ids: spellings of PatientID.
        born: birth dates (YYYYMMDD, YYYYMM or YYYY); sex: M, F.
        years: years of birth, from ages and dates of studies.
        studies: UIDs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: frozenset[str]
    born: frozenset[str] = frozenset()
    sex: frozenset[str] = frozenset()
    years: frozenset[int] = frozenset()
    studies: frozenset[str] = frozenset()

    @classmethod
    def of(cls, images: Iterable[Instance]) -> Person:
        """What images tell."""
        images = list(images)
        years = {
            int(image.date[:4]) - int(image.age)
            for image in images
            if image.age is not None and image.date[:4].isdigit()
        }
        return cls(
            ids=frozenset(image.patient for image in images),
            born=frozenset(birth_date(image.born) for image in images) - {""},
            sex=frozenset(image.sex for image in images) & {"M", "F"},
            years=frozenset(years),
            studies=frozenset(image.study or image.series for image in images),
        )

    def with_(self, other: Person) -> Person:
        """What both tell."""
        return Person(**{n: getattr(self, n) | getattr(other, n) for n in Person.model_fields})

    @property
    def traits(self) -> tuple[str, str]:
        """(birth date, sex) where one of each is told; empty texts elsewhere."""
        born, sex = _dates(self.born), self.sex
        return (next(iter(born)) if len(born) == 1 else "",
                next(iter(sex)) if len(sex) == 1 else "")  # fmt: skip


def birth_date(text: str) -> str:
    """YYYYMMDD, or as much of it as a header tells for certain; empty where that is no year."""
    digits = re.sub(r"\D", "", text)
    # Day or month may stand first: the year alone is certain then.
    for found in (digits, digits[-4:]):
        if len(found) in (4, 6, 8) and _EARLIEST <= found[:4] <= _LATEST:
            return found
    return ""


def _dates(born: Iterable[str]) -> set[str]:
    """Birth dates without those that another one completes: 1950 beside 19500101."""
    born = set(born)
    return {date for date in born if not any(o != date and o.startswith(date) for o in born)}


def differences(*people: Person) -> str:
    """In what way some people cannot be one; empty where nothing says so."""
    found = []
    born = _dates(date for person in people for date in person.born)
    sexes = {sex for person in people for sex in person.sex}
    for values, words in ((born, "birth dates"), (sexes, "sexes")):
        if len(values) > 1:
            found.append(f"{len(values)} {words}")
    years = [year for person in people for year in person.years]
    if years and max(years) - min(years) > BIRTH_YEAR_SLACK:
        found.append(f"ages {max(years) - min(years)} years apart")
    return ", ".join(found)


def remarks(*people: Person) -> list[str]:
    """What somebody should look at where some people are taken for one."""
    whole = people[0]
    for person in people[1:]:
        whole = whole.with_(person)
    found = []
    if len(whole.ids) > 1:
        found.append("PatientID is written in several ways")
    if len(whole.born) > 1:
        found.append("birth dates of different precision are taken for one")
    return found


def is_placeholder(text: str) -> bool:
    """Whether a PatientID is what software or people write for none, or not of its letters."""
    return "\ufffd" in text or _PLACEHOLDER.fullmatch(text) is not None


def is_words(text: str) -> bool:
    """Whether a PatientID is words alone, which may be a placeholder of some language."""
    return not any(letter.isdigit() for letter in text)


def other_person(path: Path | str, reference: Path | str) -> str:
    """In what way two DICOM series show two persons; empty where nothing says so.

    Told by one image of each; files of other formats say nothing.
    """
    people = [person for person in map(_person_of, (path, reference)) if person is not None]
    if len(people) < 2:
        return ""
    ids = {normal_id(text) for one in people for text in one.ids if not is_placeholder(text)}
    told = "two PatientIDs" if len(ids) > 1 else differences(*people)
    return f"series of several patients ({told})" if told else ""


def _person_of(path: Path | str) -> Person | None:
    place = local_copy(path)
    if not is_dicom(place):
        return None
    for file in [place] if place.is_file() else sorted(place.iterdir()):
        images, _ = read_instances([file] if file.is_file() else [])
        if images:
            return Person.of(images[:1])
    return None
