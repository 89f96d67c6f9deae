"""Headers in any hospital's letters, as UTF-8: what is made from them can always be written."""

from __future__ import annotations

import warnings

from pydicom import Dataset
from pydicom.charset import decode_element, python_encoding
from pydicom.dataelem import DataElement
from pydicom.valuerep import PersonName

UTF_8 = "ISO_IR 192"

_TEXT = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
"""Value representations whose letters the character set decides (DICOM PS3.5, 6.1.2.2)."""


def in_utf8(header: Dataset) -> int:
    """Decode a header's letters and make its character set UTF-8, in place.

    A value that is not of the header's character set is blanked; returned is how many were: never
    which, or what they held. Where the header names none, or one that DICOM does not know, what is
    more than ASCII is not of it.
    """
    blanked = _decode(header, _declared(header, ("ISO_IR 6",)))
    header.SpecificCharacterSet = UTF_8
    return blanked


def _declared(dataset: Dataset, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """The character sets of a dataset; empty where one is unknown to DICOM."""
    value = dataset.get("SpecificCharacterSet")
    if value is None:
        return inherited
    terms = (value,) if isinstance(value, str) else tuple(value)
    known = {*python_encoding, "ISO_IR 6", ""}
    return terms if all(str(term).strip() in known for term in terms) else ("ISO_IR 6",)


def _decode(dataset: Dataset, declared: tuple[str, ...]) -> int:
    """Decode all text of a dataset and its sequences; how many values were blanked."""
    blanked = 0
    for tag in list(dataset.keys()):
        if tag.group == 2:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                element = dataset[tag]
        except Exception:  # a damaged element fails in whatever way its type is parsed
            del dataset[tag]
            blanked += 1
            continue
        if element.VR == "SQ":
            for item in element.value:
                blanked += _decode(item, _declared(item, declared))
                if "SpecificCharacterSet" in item:
                    item.SpecificCharacterSet = UTF_8
        elif element.VR in _TEXT and element.value and not _decoded(element, declared):
            element.value = ""
            blanked += 1
    return blanked


def _decoded(element: DataElement, declared: tuple[str, ...]) -> bool:
    """Decode one element; whether every letter of it could be, and can be written again."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decode_element(element, list(declared))
            several = element.VM > 1
            texts = [str(value) for value in (element.value if several else [element.value])]
            for text in texts:
                text.encode("ascii" if declared == ("ISO_IR 6",) else "utf-8")
            if element.VR == "PN":
                names = [PersonName(text) for text in texts]
                element.value = names if several else names[0]
    except Exception:  # codecs and pydicom's own parsing fail in many ways
        return False
    return all(_plain(text) and not _unannounced(text, declared) for text in texts)


def _unannounced(text: str, declared: tuple[str, ...]) -> bool:
    """Whether bytes beyond ASCII stood there without the escape that announces their set.

    pydicom takes them for Latin-1 where the first character set is the default one.
    """
    default = declared[0] in ("", "ISO_IR 6", "ISO 2022 IR 6")
    latin = any(term.endswith((" 100", " 101", " 109", " 110")) for term in declared)
    return default and not latin and any("\x80" <= letter <= "\xff" for letter in text)


def _plain(text: str) -> bool:
    """Whether a text is free of control characters, which escape sequences leave behind."""
    return "\ufffd" not in text and all(
        letter.isprintable() or letter in "\r\n\t\f" for letter in text
    )
