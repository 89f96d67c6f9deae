"""Slow stages of a preparation, kept on disk so that a changed setting redoes only what it must."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from components.core.files import write_arrays
from components.core.imaging.grid import Grid
from components.core.settings import Settings
from components.preprocess.brain.extraction import Brain
from components.preprocess.registration.align import Alignment, Kind
from components.preprocess.settings import BrainBackend

_LOG = logging.getLogger(__name__)


@dataclass
class Clock:
    """CPU seconds of a preparation by stage, for benches; never part of a case."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, *, threads: bool = False) -> Iterator[None]:
        """Add the CPU time of the block to stage `name`.

        Args:
            threads: count every thread of the process: for a stage that starts some, and beside
                which none runs. Else this thread alone.
        """
        clock = time.process_time if threads else time.thread_time
        start = clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + clock() - start


def stage_key(recipe: int, files: dict[str, str], *settings: Settings | str) -> str:
    """Name of a stage's result: a digest of the files and the settings it depends on."""
    parts = [part if isinstance(part, str) else part.model_dump_json() for part in settings]
    return hashlib.sha256(json.dumps([recipe, files, parts], sort_keys=True).encode()).hexdigest()


def load_brain(cache: Path | None, key: str) -> Brain | None:
    """A brain kept under `key`, or None."""
    content = _load(cache, f"brain-{key}")
    if content is None:
        return None
    grid = Grid.from_json(json.loads(str(content["grid"])))
    count = int(np.prod(grid.shape))
    mask = np.unpackbits(content["mask"], count=count).reshape(grid.shape)
    return Brain(grid.image(mask), BrainBackend(str(content["backend"])))


def save_brain(cache: Path | None, key: str, brain: Brain) -> None:
    """Keep a brain under `key`."""
    _save(
        cache,
        f"brain-{key}",
        mask=np.packbits(sitk.GetArrayViewFromImage(brain.mask) > 0),
        grid=np.array(json.dumps(Grid.of(brain.mask).to_json())),
        backend=np.array(brain.backend.value),
    )


def load_alignment(cache: Path | None, key: str) -> Alignment | None:
    """An alignment kept under `key`, or None."""
    content = _load(cache, f"alignment-{key}")
    if content is None:
        return None
    notes = tuple(json.loads(str(content["notes"])))
    kind = Kind(str(content["kind"]))
    return Alignment(content["matrix"], float(content["similarity"]), kind, notes)


def save_alignment(cache: Path | None, key: str, alignment: Alignment) -> None:
    """Keep an alignment under `key`."""
    _save(
        cache,
        f"alignment-{key}",
        matrix=alignment.matrix,
        similarity=np.array(alignment.similarity),
        kind=np.array(alignment.kind.value),
        notes=np.array(json.dumps(alignment.notes)),
    )


def _load(cache: Path | None, name: str) -> dict[str, Any] | None:
    path = cache / f"{name}.npz" if cache else None
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, KeyError) as error:
        _LOG.warning("%s is unreadable and is made anew (%s)", path.name, error)
        return None


def _save(cache: Path | None, name: str, **content: np.ndarray) -> None:
    if cache is None:
        return
    write_arrays(cache / f"{name}.npz", content)
