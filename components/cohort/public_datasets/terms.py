"""The words of public metadata tables, each mapped explicitly; none is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from components.core.errors import BadInput
from components.core.vocabulary import Idh, Sex

T = TypeVar("T")

IDH_WORDS: Mapping[str, Idh | None] = {
    "wildtype": Idh.WILDTYPE,
    "wild type": Idh.WILDTYPE,
    "wt": Idh.WILDTYPE,
    "not_mutated": Idh.WILDTYPE,
    "mutated": Idh.MUTANT,
    "mutant": Idh.MUTANT,
    "mutated (nos)": Idh.MUTANT,
    "idh1 p.r132h": Idh.MUTANT,
    "idh1 p.r132c": Idh.MUTANT,
    "idh1 p.r132g": Idh.MUTANT,
    "idh1 p.r132s": Idh.MUTANT,
    "idh1 p.r132l": Idh.MUTANT,
    "idh1 p.arg132his": Idh.MUTANT,
    "idh2 p.r172k": Idh.MUTANT,
    "idh2 p.r172m": Idh.MUTANT,
    "idh2 p.r172w": Idh.MUTANT,
    "idh2 p.arg172trp": Idh.MUTANT,
    "1": Idh.MUTANT,
    "0": Idh.WILDTYPE,
    "nos/nec": None,
    "nos": None,
    "-1": None,
    "unknown": None,
    "not available": None,
    "na": None,
    "--": None,
    "": None,
}
"""What releases write about IDH, in lower case. A word that is not here is refused, not guessed."""

CODELETION_WORDS: Mapping[str, int | None] = {
    "co-deletion": 1,
    "relative co-deletion": 1,
    "codeleted": 1,
    "intact": 0,
    "non-codel": 0,
    "1": 1,
    "0": 0,
    "-1": None,
    "not available": None,
    "unknown": None,
    "na": None,
    "": None,
}
SEX_WORDS: Mapping[str, Sex | None] = {
    "m": Sex.MALE,
    "male": Sex.MALE,
    "f": Sex.FEMALE,
    "female": Sex.FEMALE,
    "--": None,
    "-1": None,
    "not available": None,
    "": None,
}
GRADE_WORDS: Mapping[str, int | None] = {
    "2": 2, "3": 3, "4": 4, "ii": 2, "iii": 3, "iv": 4, "gbm": 4, "lgg": None, "-1": None,
    "not available": None, "": None,
}  # fmt: skip
"""A lower-grade glioma (LGG) is of grade 2 or 3: unknown."""

_AGE = re.compile(r"(\d+(?:\.\d+)?)(?: years?)?(?: (\d+) days?)?")
_NO_AGE = ("", "--", "-1", "na", "not available")
_DAYS = 365.25


def translate(subject: str, value: str, words: Mapping[str, T]) -> T:
    """The meaning of a word, in whatever case. Raises BadInput when `words` lacks it."""
    if value.lower() not in words:
        raise BadInput(
            subject,
            f"'{value}' is not a word that is known here",
            f"write one of: {', '.join(word for word in words if word)}; or leave the cell empty",
        )
    return words[value.lower()]


def age_in_years(subject: str, value: str) -> float | None:
    """Years to two decimals; "51 years 108 days" is 51 + 108 / 365.25.

    Raises:
        BadInput: neither an age nor a word for an unknown one.
    """
    if value.lower() in _NO_AGE:
        return None
    found = _AGE.fullmatch(value)
    if not found:
        raise BadInput(subject, f"'{value}' is not an age", "write years, or 'N years M days'")
    return round(float(found[1]) + int(found[2] or 0) / _DAYS, 2)
