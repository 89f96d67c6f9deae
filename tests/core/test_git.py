"""The commit of the code, from a real repository or the variable of an image."""

import subprocess
from pathlib import Path

import pytest

from components.core import git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, in place of the code's own."""
    monkeypatch.delenv(git.COMMIT_VARIABLE, raising=False)
    monkeypatch.setattr(git, "_ROOT", tmp_path)
    (tmp_path / "tracked").write_text("one")
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (("init", "-q"), ("add", "tracked"), (*name, "commit", "-qm", "first")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_commit_and_changes_of_a_checkout(repository: Path) -> None:
    assert len(git.commit_hash()) == 40
    assert git.tree_changed(untracked=True) is False
    (repository / "new").touch()
    assert git.tree_changed(untracked=True) is True
    assert git.tree_changed(untracked=False) is False
    (repository / "tracked").write_text("two")
    assert git.tree_changed(untracked=False) is True


def test_an_image_names_its_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(git.COMMIT_VARIABLE, "abc")
    assert git.commit_hash() == "abc"
    assert git.tree_changed(untracked=True) is None


def test_without_a_repository_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(git.COMMIT_VARIABLE, raising=False)
    monkeypatch.setattr(git, "_ROOT", tmp_path)
    assert git.commit_hash() == ""
    assert git.tree_changed(untracked=True) is None
