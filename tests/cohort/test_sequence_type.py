"""What one series is, from its header alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.cohort.dicom.headers import Instance, read_instances
from components.cohort.dicom.selection.sequence_type import sequence_type
from components.cohort.images import read_image
from components.core.errors import BadInput
from components.core.vocabulary import Sequence
from tests.cohort.dicom_writer import FLAIR, T1C, T2, datasets, phantom, save

Tags = dict[str, Any]
SLICE = phantom(shape=(1, 4, 4))


def header(folder: Path, base: Tags, more: Tags) -> Instance:
    tags = {**base, "SpecificCharacterSet": "ISO_IR 192", **more}
    (found,), _ = read_instances(save(folder, datasets(SLICE, tags)).iterdir())
    return found


def named(text: str, *image_type: str, **more: Any) -> Tags:
    tags = {"SeriesDescription": text, **more}
    return tags | ({"ImageType": list(image_type)} if image_type else {})


NO_T1C: dict[str, Tags] = {
    "declined": {"ContrastBolusAgent": "Gd-DTPA declined", "SeriesDescription": "t1_se_tra"},
    "Dixon by ImageType": named("t1 mDIXON", "ORIGINAL", "PRIMARY", "W", "W", "DERIVED"),
    "Dixon water by name": named("t1_vibe_dixon_tra_W"),
    "Dixon fat by name": named("t1_vibe_dixon_tra_F"),
    "Dixon opposed": named("t1_vibe_dixon_tra_opp"),
    "GE's fat": named("FAT: AX LAVA FLEX +C"),
    "GE's water": named("WATER: AX LAVA FLEX +C"),
    "GE's out of phase": named("OutPhase: AX LAVA FLEX +C"),
    "lying subtraction": named("t1 post gd", "DERIVED", "PRIMARY", "SUBTRACTION"),
    "Siemens' subtraction": named("t1 post gd", "DERIVED", "PRIMARY", "M", "SUB"),
    "subtraction by name": named("T1 POST-PRE"),
    "difference in words": named("T1 post minus pre"),
    "relative blood volume": named("rCBV"),
    "leakage": named("Ktrans"),
    "dynamic": named("t1 twist dynamic"),
    "relaxation map": named("t1", "DERIVED", "PRIMARY", "T1 MAP"),
    "transfer ratio": named("MTR"),
    "mosaic": named("t1 gd", "ORIGINAL", "PRIMARY", "M", "MOSAIC"),
    "Dixon water in the middle": named("t1_dixon_W_tra"),
    "screen shot": named("t1 gd", "ORIGINAL", "SECONDARY", "SCREEN SAVE"),
    "pituitary": named("t1 sella km cor"),
}
NO_T2: dict[str, Tags] = {
    "ADC by ImageType": named("t2 axial", "DERIVED", "PRIMARY", "ADC"),
    "exponential ADC": named("eADC"),
    "diffusion's own ADC": named("dADC (10^-6 mm2/s)"),
    "TRACE": named("t2", "DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"),
    "isotropic diffusion": named("isoDWI"),
    "a b value": named("b1000"),
    "b 0": named("b0 t2"),
    "echo-planar by its name": named("t2 axial", SequenceName="*epse2d1_128"),
    "diffusion by its name": named("t2 axial", SequenceName="*ep_b1000t"),
    "transit time": named("MTT"),
    "time to peak": named("TTP"),
    "time to maximum": named("Tmax map"),
    "T2 map": named("T2_map"),
    "orbit": named("t2 orbita cor fs"),
    "inner ear": named("t2 space iac"),
    "phantom": named("QA phantom t2"),
}


@pytest.mark.parametrize("case", NO_T1C)
def test_no_t1c(tmp_path: Path, case: str) -> None:
    assert sequence_type(header(tmp_path / "s", T1C, NO_T1C[case])).sequence is None


@pytest.mark.parametrize("case", NO_T2)
def test_no_t2(tmp_path: Path, case: str) -> None:
    assert sequence_type(header(tmp_path / "s", T2, NO_T2[case])).sequence is None


ANATOMY: dict[str, tuple[Tags, Tags, Sequence]] = {
    "Dixon in phase": (T1C, named("t1_dixon_in", "ORIGINAL", "PRIMARY", "M", "IP"), Sequence.T1C),
    "fat saturation": (T1C, named("t1 fat sat +C"), Sequence.T1C),
    "Dixon with contrast": (T1C, named("t1 mDIXON w gd"), Sequence.T1C),
    "fs": (T2, named("t2_tse_tra_fs"), Sequence.T2),
    "dark fluid": (FLAIR, named("t2_tirm_tra_dark-fluid"), Sequence.FLAIR),
    "FLAIR by name": (T2, named("AX T2 FLAIR"), Sequence.FLAIR),
    "after contrast, agent unsaid": (
        {k: v for k, v in T1C.items() if k != "ContrastBolusAgent"},
        named("t1 nach KM"),
        Sequence.T1C,
    ),
    "brain with orbits": (T2, named("t2 brain and orbits"), Sequence.T2),
    "3 T": (T2, named("t2 3T iso 256"), Sequence.T2),
}


@pytest.mark.parametrize("case", ANATOMY)
def test_anatomy(tmp_path: Path, case: str) -> None:
    base, more, sequence = ANATOMY[case]
    verdict = sequence_type(header(tmp_path / "s", base, more))
    assert (verdict.sequence, verdict.doubtful) == (sequence, False)


@pytest.mark.parametrize("text", ["t1 ohne KM", "t1 vor KM", "t1 avant gado", "T1 prima del mdc"])
def test_an_agent_beside_a_name_without_is_doubtful(tmp_path: Path, text: str) -> None:
    assert sequence_type(header(tmp_path / "s", T1C, named(text))).doubtful


@pytest.mark.parametrize(
    "more",
    [named("t1", "DERIVED", "PRIMARY", "SUBTRACTION"), named("t2", "DERIVED", "PRIMARY", "ADC"),
     {"Modality": "CT"}, {"SequenceName": "*ep_b1000t"}, {"DiffusionBValue": 1000.0}],
)  # fmt: skip
def test_what_is_no_anatomy_is_read_under_no_name(tmp_path: Path, more: Tags) -> None:
    with pytest.raises(BadInput, match="no anatomical MRI"):
        read_image(save(tmp_path / "s", datasets(phantom(), {**T1C, **more})))


def test_every_second_slice_is_no_whole_series(tmp_path: Path) -> None:
    def saved(step: int, **told: Any) -> Path:
        folder = tmp_path / f"{step} {told}"
        return save(folder, datasets(phantom(), {**T1C, **told})[::step])

    with pytest.raises(BadInput, match="every 2"):
        read_image(saved(2, SpacingBetweenSlices=6.0))
    assert read_image(saved(2)).GetSize()[2] == 6
    for told in (1.0, 6.0, 18.0):
        assert read_image(saved(1, SpacingBetweenSlices=told)).GetSize()[2] == 12
