"""The volumes and scripts that the page carries: right values, right places, nothing opened."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from components.core.errors import BadInput
from components.core.imaging.grid import Grid, resample
from components.core.vocabulary import REGIONS
from components.features.loci import loci_features
from components.preprocess.atlas import regions
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from serving.report.page import write_page
from serving.report.result import PatientResult, patient_result
from serving.report.viewer import bundle, volumes
from tests.factories import ellipsoid
from tests.serving.shop import Shop

LEFT = np.array([34.0, -12.0, 8.0])
"""LPS mm of the middle of the tumour: the patient's left, in front, above."""


def result_of(shop: Shop, *, tumor: bool = True) -> PatientResult:
    """An answer whose tumour lies at LEFT."""
    contents, case = shop.release.contents, shop.case(6, tumor=tumor)
    answer = LocalRelease(shop.release.folder).ask(request_tensors(case, contents))
    if tumor:
        mask = ellipsoid(case.working, LEFT, np.array([16.0, 20.0, 14.0]))
        middle = int(np.rint((LEFT[2] - case.grid.origin[2]) / case.grid.spacing[2]))
        slices = tuple(middle + offset for offset in (-2, -1, 0, 1, 2))
        answer = replace(answer, mask=mask, slices=slices)
    return patient_result(answer, case, contents, dict.fromkeys(("t1c", "t2", "flair"), "1" * 64))


def _read(text: str) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def _on_case(text: str, grid: Grid) -> np.ndarray:
    """A volume of the page, put where its own header says, on the case's grid (z, y, x)."""
    image = _read(text)
    assert image.get_data_dtype() == np.uint8
    values = np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    return resample(values, Grid.from_affine(affine, values.shape), grid, nearest=True)


def test_volumes_hold_the_z_scores_where_they_lie(shop: Shop) -> None:
    result = result_of(shop)
    case, content = result.case, volumes.viewer_volumes(result)
    assert [one["name"] for one in content["sequences"]] == ["T1C", "T2", "FLAIR"]
    for one, sequence in zip(content["sequences"], case.sequences, strict=True):
        found = _on_case(one["nifti"], case.grid)
        expected = np.clip(case.volume(sequence), *volumes.Z_RANGE)
        assert np.abs(found - expected)[case.brain].max() <= volumes.STEP / 2 + 1e-4
        stored = np.asarray(_read(one["nifti"]).dataobj)
        assert stored.size < case.brain.size
        assert (stored <= volumes.Z_RANGE[0] - volumes.STEP / 2).any()


def test_the_mask_and_the_first_crosshair_lie_on_the_patients_left(shop: Shop) -> None:
    result = result_of(shop)
    content = volumes.viewer_volumes(result)
    found = _on_case(content["mask"], result.case.grid) > 0
    expected = ellipsoid(result.case.grid, LEFT, np.array([16.0, 20.0, 14.0]))
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.85
    x, y, z = content["centre"]
    assert np.linalg.norm(np.array([-x, -y, z]) - LEFT) < 8.0


def test_the_regions_are_those_of_the_loci_features(shop: Shop) -> None:
    result = result_of(shop)
    case = replace(
        result.case,
        to_mni=np.array([[0.9, 0.1, 0, 2], [-0.1, 1.1, 0, 5], [0, 0, 1, 9], [0, 0, 0, 1]]),
    )
    content = volumes.viewer_volumes(replace(result, case=case))
    assert content["regions"]["names"] == list(REGIONS)
    labels = _on_case(content["regions"]["nifti"], case.grid)
    mask = ellipsoid(case.grid, LEFT, np.array([30.0, 30.0, 30.0])) & case.brain
    atlas = regions.atlas_of(result.contents.plan.atlas_files)
    expected = loci_features(mask, case.grid, case.to_mni, atlas)
    assert sum(share > 5 for share in expected.values()) >= 2
    for index, name in enumerate(REGIONS, start=1):
        assert 100 * (labels[mask] == index).mean() == pytest.approx(expected[name], abs=1e-9)


def test_without_the_releases_own_atlas_there_are_no_regions(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, atlas = result_of(shop), regions.atlas_of(shop.plan.atlas_files)
    other = replace(atlas, sha256="0" * 64)
    monkeypatch.setattr(regions, "atlas_of", lambda _: other)
    assert volumes.viewer_volumes(result)["regions"] is None

    def missing(_: object) -> None:
        raise BadInput("atlas", "not there", "bring it")

    monkeypatch.setattr(regions, "atlas_of", missing)
    assert volumes.viewer_volumes(result)["regions"] is None


def test_large_volumes_become_coarser_until_they_fit(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_of(shop)
    before = volumes.viewer_volumes(result)
    monkeypatch.setattr(volumes, "MAX_CHARACTERS", 9000)
    after = volumes.viewer_volumes(result)
    sizes = [len(after["mask"]), len(after["regions"]["nifti"])]
    sizes += [len(one["nifti"]) for one in after["sequences"]]
    assert sum(sizes) <= 9000
    assert after["voxel_mm"] > before["voxel_mm"]
    found = _on_case(after["mask"], result.case.grid) > 0
    expected = ellipsoid(result.case.grid, LEFT, np.array([16.0, 20.0, 14.0]))
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.7


def test_a_patient_without_tumour_has_an_empty_mask(shop: Shop) -> None:
    content = volumes.viewer_volumes(result_of(shop, tumor=False))
    assert not np.asarray(_read(content["mask"]).dataobj).any()


def test_niivue_is_the_published_file_and_its_licences_go_with_it() -> None:
    folder = Path(bundle.__file__).parent
    content = (folder / bundle.NIIVUE).read_bytes()
    assert hashlib.sha256(content).hexdigest() == bundle.NIIVUE_SHA256
    assert b"</script" not in content.lower()
    assert b"<!--" not in content
    licences = (folder / bundle.LICENCES).read_text()
    for holder in ("Niivue", "Arjun Barrett", "Brandon Jones", "Yann Collet", "Trevor Manz"):
        assert holder in licences
    version = re.search(r"VERSION=(\S+)", Path("infra/viewer.sh").read_text())
    assert version is not None
    assert f"niivue-{version[1]}.umd.js" == bundle.NIIVUE


def test_the_page_allows_its_own_two_scripts_and_nothing_else(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    write_page(path, result_of(shop), interactive=True)
    text = path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules.pop("script-src").split() == [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    ]
    static = {"default-src": "'none'", "img-src": "data:", "style-src": "'unsafe-inline'"}
    assert rules == static
    assert path.stat().st_size < 8e6
