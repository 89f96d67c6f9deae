"""The folder a Triton server reads: one live release, and those kept beside it.

A release's models carry its id in their names here, so that two releases can be loaded at once and
a request never meets the models of both. Only the ensembles keep their names; deploying writes
the new release's models beside the old ones, and then replaces each ensemble's config in one
rename.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from components.core.errors import BadInput
from components.core.files import atomic, read_json, write_json, write_text
from components.release.integrity.verification import verify_release
from components.release.manifest import RELEASE_FILE
from components.release.release import VERSION, Release, model_name
from components.release.settings import Node, TensorRt
from components.release.tensors import ENSEMBLES, Step
from serving.triton.config import model_configs

RELEASES = "releases"
MODELS = "models"
HISTORY_FILE = "history.json"
"""Ids of the releases that were live, oldest first."""


class Store:
    """Releases as exported, under releases/<id>; what Triton reads, under models/.

    Args:
        node: kind of machine that serves; by default each release's own.
    """

    def __init__(self, folder: Path, node: Node | None = None) -> None:
        self.folder, self.node = folder, node
        self.models = folder / MODELS
        self.models.mkdir(parents=True, exist_ok=True)

    def add(self, repository: Path | str) -> Release:
        """Verify a release, copy it here and lay out its models; the live one stays live.

        Raises BadInput: see `verify_release`.
        """
        release = verify_release(repository)
        kept = self.folder / RELEASES / release.release
        if not kept.is_dir():
            with atomic(kept) as temporary:
                shutil.copytree(repository, temporary)
            release = verify_release(kept)
        configs = self._configs(release)
        for step in Step:
            name = model_name(step, release.suffix)
            laid_out = self.models / name / "config.pbtxt"
            if laid_out.is_file():
                # Another kind of machine may have served it before.
                if laid_out.read_text() != configs[name]:
                    write_text(laid_out, configs[name])
                continue
            with atomic(self.models / name) as temporary:
                (temporary / VERSION).mkdir(parents=True)
                for file in sorted((kept / step / VERSION).iterdir()):
                    (temporary / VERSION / file.name).hardlink_to(file)
                shutil.copyfile(kept / RELEASE_FILE, temporary / RELEASE_FILE)
                (temporary / "config.pbtxt").write_text(configs[name])
        return release

    def make_live(self, release: Release) -> None:
        """Write the ensembles' configs so that their models are this release's."""
        configs = self._configs(release)
        for name in ENSEMBLES:
            (self.models / name / VERSION).mkdir(parents=True, exist_ok=True)
            write_text(self.models / name / "config.pbtxt", configs[name])
        history = self.history()
        if not history or history[-1] != release.release:
            write_json(self.folder / HISTORY_FILE, [*history, release.release])

    def history(self) -> list[str]:
        """Ids of the releases that were live, oldest first; the last one is live."""
        path = self.folder / HISTORY_FILE
        return list(read_json(path)) if path.is_file() else []

    def previous(self) -> Release:
        """The release that was live before this one. Raises BadInput when there was none."""
        history = self.history()
        earlier = [identifier for identifier in history if identifier != history[-1]]
        if not earlier:
            raise BadInput(self.folder, "no release was live before", "nothing to go back to")
        return self.add(self.release(earlier[-1]).folder)

    def release(self, identifier: str) -> Release:
        """A release kept here. Raises BadInput when there is none of this id, or it was altered."""
        folder = self.folder / RELEASES / identifier
        if not folder.is_dir():
            known = ", ".join(sorted(p.name for p in (self.folder / RELEASES).glob("*")))
            raise BadInput(identifier, "no such release in the store", f"known are: {known}")
        return verify_release(folder)

    def remove_models(self, release: Release) -> None:
        """Take a release's models away from Triton; the release itself is kept for a rollback."""
        for step in Step:
            shutil.rmtree(self.models / model_name(step, release.suffix), ignore_errors=True)

    def node_of(self, release: Release) -> Node:
        """Kind of machine that serves a release here."""
        return self.node or release.manifest.settings.node

    def _configs(self, release: Release) -> dict[str, str]:
        parameters = {
            "contents": release.contents.model_dump_json(),
            "release": release.release,
        }
        settings = release.manifest.settings
        node = self.node_of(release)
        if node is not settings.node:
            settings = settings.model_copy(update={"node": node, "tensorrt": TensorRt.OFF})
        return model_configs(
            release.contents.interface, settings, parameters, suffix=release.suffix
        )
