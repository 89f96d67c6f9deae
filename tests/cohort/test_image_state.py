"""The same manifest over other images is told from the same manifest over the same ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from components.cohort.image_state import ImageState, look_at_images
from components.cohort.manifest import read_table


def cohort(folder: Path, prefix: str = "") -> Path:
    rows = [f"P{i},S,{prefix}p{i}/t1c.nii.gz,,{prefix}p{i}/flair,50,1" for i in (1, 2)]
    for index in (1, 2):
        (folder / f"p{index}" / "flair").mkdir(parents=True)
        (folder / f"p{index}" / "t1c.nii.gz").write_bytes(b"t1c of %d" % index)
        for part in (1, 2):
            (folder / f"p{index}" / "flair" / f"{part}.dcm").write_bytes(b"slice %d" % part)
    path = folder / "cohort.csv"
    path.write_text("\n".join(["patient_id,site,t1c,t2,flair,age,idh", *rows]) + "\n")
    return path


def look(manifest: Path, memory: Path) -> ImageState:
    return look_at_images([read_table(manifest)], memory)


def test_nothing_changed_is_the_same_digest(tmp_path: Path) -> None:
    manifest, memory = cohort(tmp_path), tmp_path / "seen.json"
    first = look(manifest, memory)
    assert first.changed == ()
    os.utime(tmp_path / "p1" / "t1c.nii.gz", ns=(0, 0))
    assert look(manifest, memory) == first


@pytest.mark.parametrize("name", ["p2/t1c.nii.gz", "p2/flair/1.dcm"])
def test_another_image_under_the_same_name_is_seen_and_named(tmp_path: Path, name: str) -> None:
    manifest, memory = cohort(tmp_path), tmp_path / "seen.json"
    first = look(manifest, memory)
    old = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(bytes(reversed(old)))
    second = look(manifest, memory)
    assert second.sha256 != first.sha256
    assert [Path(path).relative_to(tmp_path).parts[:2] for path in second.changed] == [
        tuple(Path(name).parts[:2])
    ]


def test_a_slice_that_is_added_changes_the_series(tmp_path: Path) -> None:
    manifest, memory = cohort(tmp_path), tmp_path / "seen.json"
    first = look(manifest, memory)
    (tmp_path / "p1" / "flair" / "3.dcm").write_bytes(b"slice 3")
    assert look(manifest, memory).sha256 != first.sha256


def test_a_broken_memory_is_made_anew(tmp_path: Path) -> None:
    manifest, memory = cohort(tmp_path), tmp_path / "seen.json"
    first = look(manifest, memory)
    memory.write_text("{")
    assert look(manifest, memory) == first


def test_objects_are_told_apart_by_their_etags(tmp_path: Path, s3: Any) -> None:
    manifest = cohort(tmp_path, "s3://bucket/")
    for index in (1, 2):
        s3.put_object(Bucket="bucket", Key=f"p{index}/t1c.nii.gz", Body=b"t1c")
        s3.put_object(Bucket="bucket", Key=f"p{index}/flair/1.dcm", Body=b"slice")
    memory = tmp_path / "seen.json"
    first = look(manifest, memory)
    assert look(manifest, memory) == first
    s3.put_object(Bucket="bucket", Key="p2/t1c.nii.gz", Body=b"another")
    assert look(manifest, memory).changed == ("s3://bucket/p2/t1c.nii.gz",)
