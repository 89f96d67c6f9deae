"""Any bit of a NIfTI file turned: refused, or right all the same."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import BadInput
from tests.core.test_nifti import nifti, read, right


def _flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _check_flip(folder: Path, content: bytes, bit: int, length: int) -> None:
    """Refused, or right but for a factor of all voxels (the slope has no second witness)."""
    try:
        found = read(folder, _flip(content, bit)[:length], "f.nii.gz")
    except BadInput as error:
        assert "\n" not in str(error)
        return
    slope = content[:2] != b"\x1f\x8b" and 112 <= bit // 8 < 120
    if not slope:
        assert right(found)


PACKED, PLAIN = gzip.compress(nifti()), nifti()


def _flips(folder: Path, place: float, plain: bool, cut: float) -> None:
    content = PLAIN if plain else PACKED
    # Voxels of a file without check sums are what they are: only its header is turned.
    bits = 8 * (352 if plain else len(content))
    length = len(content) if cut > 0.1 else int(10 * cut * len(content))
    _check_flip(folder, content, int(place * bits), length)


_SHARE = st.floats(0.0, 1.0, exclude_max=True)


@given(place=_SHARE, plain=st.booleans(), cut=_SHARE)
@settings(max_examples=300)
def test_a_turned_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: float, plain: bool, cut: float
) -> None:
    _flips(tmp_path_factory.getbasetemp(), place, plain, cut)


@pytest.mark.slow
@given(place=_SHARE, plain=st.booleans(), cut=_SHARE)
@settings(max_examples=20_000)
def test_any_turned_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: float, plain: bool, cut: float
) -> None:
    _flips(tmp_path_factory.getbasetemp(), place, plain, cut)


def test_bits_of_all_the_header_are_guarded(tmp_path: Path) -> None:
    for bit in range(0, 8 * 352, 5):
        _check_flip(tmp_path, PLAIN, bit, len(PLAIN))
