"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A gate must give one answer for one commit; `HYPOTHESIS_PROFILE=explore` draws new examples.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real patients: GLIOFLOW_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("GLIOFLOW_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tcga-lgg" / "manifest.csv").is_file():
        pytest.skip(f"no real patients at {folder}: set GLIOFLOW_DATA to run this test")
    return folder
