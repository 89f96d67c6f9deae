"""Phantoms: right patients in the right shares, known truth, the same bytes for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sklearn.metrics import roc_auc_score

from components.cohort.manifest import read_manifest
from components.cohort.phantom.dataset import make_cohort, split_development
from components.cohort.phantom.parameters import draw_cohort, moved_within
from components.cohort.phantom.scanner import _slice_profile
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import SEVERANCE, SITES, TCIA, site_named
from components.core.errors import BadInput
from components.core.files import read_json, sha256_tree
from components.core.imaging.grid import Grid
from components.core.vocabulary import Idh, Origin, Sequence, Split

COARSE = PhantomSettings(resolution_mm=2.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "tcia"
    make_cohort(TCIA, 3, 7, out, COARSE)
    return out


def test_same_seed_same_bytes_whatever_the_workers(cohort: Path, tmp_path: Path) -> None:
    make_cohort(TCIA, 3, 7, tmp_path / "tcia", COARSE, workers=2)
    again = sha256_tree(tmp_path / "tcia")
    assert {k: v for k, v in sha256_tree(cohort).items() if k.endswith(".gz")} == {
        k: v for k, v in again.items() if k.endswith(".gz")
    }


def test_a_finished_patient_is_not_made_again(cohort: Path) -> None:
    image = next(cohort.glob("*/t1c.nii.gz"))
    before = image.stat().st_mtime_ns
    make_cohort(TCIA, 3, 7, cohort, COARSE)
    assert image.stat().st_mtime_ns == before


def test_one_patients_draw_does_not_depend_on_the_others() -> None:
    few = {d.patient_id: d for d in draw_cohort(SEVERANCE, 10, 3)}
    many = {d.patient_id: d for d in draw_cohort(SEVERANCE, 30, 3)}
    same = [name for name in few if few[name].idh == many[name].idh]
    assert same
    assert all(few[name] == many[name] for name in same)


@pytest.mark.parametrize("site", SITES.values(), ids=lambda s: s.name)
def test_prevalence_is_the_sites(site) -> None:  # type: ignore[no-untyped-def]
    draws = draw_cohort(site, 400, 1)
    share = np.mean([draw.idh is Idh.MUTANT for draw in draws])
    assert share == pytest.approx(site.mutant_share, abs=1 / 400)


def test_grades_follow_table_1() -> None:
    wildtype = [d.grade for d in draw_cohort(SEVERANCE, 2000, 1) if d.idh is Idh.WILDTYPE]
    assert np.mean(np.array(wildtype) == 4) == pytest.approx(491 / 617, abs=0.04)


def test_age_alone_separates_as_in_the_paper() -> None:
    draws = [draw for site in SITES.values() for draw in draw_cohort(site, 600, 2)]
    area = roc_auc_score([d.idh for d in draws], [-d.age for d in draws])
    assert 0.74 < area < 0.81
    ages = np.array([d.age for d in draws])
    assert ages.min() >= 18
    assert ages.mean() == pytest.approx(52.5, abs=2.0)


def test_no_single_drawn_property_separates() -> None:
    draws = [draw for site in SITES.values() for draw in draw_cohort(site, 600, 2)]
    labels = [d.idh for d in draws]
    for name in ("roughness", "core", "enhancement", "necrosis", "mismatch", "t2"):
        area = roc_auc_score(labels, [getattr(d.tumor, name) for d in draws])
        assert 0.5 < max(area, 1 - area) < 0.9, name


def test_truth_lies_where_the_images_show_it(cohort: Path) -> None:
    for patient in read_manifest(cohort / "manifest.csv"):
        assert patient.origin is Origin.PHANTOMS
        image = sitk.ReadImage(str(patient.t1c))
        tumor = sitk.ReadImage(str(patient.tumor_mask))
        brain = sitk.ReadImage(str(Path(str(patient.t1c)).parent / "brain_mask.nii.gz"))
        assert tumor.GetSize() == brain.GetSize() == image.GetSize()
        inside = sitk.GetArrayFromImage(tumor) > 0
        ml = inside.sum() * np.prod(tumor.GetSpacing()) / 1000
        assert 3 < ml < 350
        assert (sitk.GetArrayFromImage(brain)[inside] > 0).mean() > 0.97
        litres = (sitk.GetArrayFromImage(brain) > 0).sum() * np.prod(brain.GetSpacing()) / 1e6
        assert 1.2 < litres < 2.1


def test_motion_brings_flair_onto_t1c(cohort: Path) -> None:
    """The tumour's middle on FLAIR, moved by the written motion, is its middle on T1C."""
    for patient in read_manifest(cohort / "manifest.csv"):
        truth = read_json(Path(str(patient.t1c)).parent / "truth.json")
        to_flair = np.array(truth["motions"]["flair"])
        tumor = sitk.ReadImage(str(patient.tumor_mask))
        flair = sitk.ReadImage(str(patient.flair), sitk.sitkFloat32)
        brain = sitk.ReadImage(
            str(Path(str(patient.t1c)).parent / "brain_mask.nii.gz"), sitk.sitkFloat32
        )
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(to_flair[:3, :3].ravel())
        affine.SetTranslation(to_flair[:3, 3])
        moved = sitk.GetArrayFromImage(sitk.Resample(flair, tumor, affine, sitk.sitkLinear, 0.0))
        inside = sitk.GetArrayFromImage(tumor) > 0
        around = (sitk.GetArrayFromImage(brain) > 0) & ~inside
        assert moved[inside].mean() > 1.15 * moved[around].mean()


@pytest.mark.parametrize("thickness", [1.0, 4.0, 5.0, 6.0, 7.0])
def test_thick_slices_are_not_shifted(thickness: float) -> None:
    """An even extent has no middle voxel; were it averaged as it stands, half a voxel would go."""
    head = Grid.make((4, 4, 41), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    thick = Grid.make((4, 4, 6), (0.0, 0.0, 0.0), (1.0, 1.0, thickness))
    signal = np.zeros(head.shape)
    signal[20] = 1.0
    seen = _slice_profile(signal, head, thick)[:, 0, 0]
    assert seen.sum() == pytest.approx(1.0)
    assert seen @ np.arange(41) == pytest.approx(20.0)


def test_motion_may_be_drawn_wider_and_leaves_t1c_and_the_rest_alone() -> None:
    usual = draw_cohort(SEVERANCE, 20, 1)
    moved = [moved_within(15.0, 20.0)(draw) for draw in usual]
    turns = np.abs([d.scans[Sequence.FLAIR].rotation for d in moved])
    shifts = np.abs([d.scans[Sequence.FLAIR].shift for d in moved])
    assert np.deg2rad(12) < turns.max() <= np.deg2rad(15)
    assert 16 < shifts.max() <= 20
    for before, after in zip(usual, moved, strict=True):
        assert after.scans[Sequence.T1C] == before.scans[Sequence.T1C]
        assert after.tumor == before.tumor


def test_splits_are_exact_disjoint_and_stratified() -> None:
    draws = draw_cohort(SEVERANCE, 90, 1)
    parts = split_development(draws, (0.6, 0.15, 0.25), 1)
    assert set(parts) == {d.patient_id for d in draws}
    for split, share in zip(Split, (0.6, 0.15, 0.25), strict=True):
        inside = [d for d in draws if parts[d.patient_id] is split]
        assert len(inside) == pytest.approx(share * 90, abs=1.1)
        mutants = sum(d.idh is Idh.MUTANT for d in inside)
        assert mutants == pytest.approx(SEVERANCE.mutant_share * len(inside), abs=1.1)


def test_sequences_lie_on_their_own_grids(cohort: Path) -> None:
    patient = read_manifest(cohort / "manifest.csv")[0]
    sizes = {sitk.ReadImage(str(patient.path_of(s))).GetSize() for s in Sequence}
    assert len(sizes) >= 2


def test_an_unknown_site_is_named() -> None:
    with pytest.raises(BadInput, match="severance, snuh, tcia"):
        site_named("mayo")
