"""Images and answers on the gateway's disk: whole or absent, and never more than they may be."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import Outage
from components.core.files import atomic
from serving.pacs.gateway.state import GatewayState

MIB = 1 << 20
_ROUNDING_S = 0.001
"""Of a file's time."""
_STUDIES, _ANSWERS, _TRASH = "studies", "answers", "trash"


class SpoolFull(Outage):
    """There is no room for another image, and nothing finished that could make way."""


def study_key(study_uid: str) -> str:
    """What a study is called in folders and logs."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:16]


class Spool:
    """The folders of one gateway. Safe to share between threads.

    Args:
        folder: of the gateway.
        state: told of every image before `store` returns.
        limit_mb: most that images and answers may take, MiB.
        quiet_s: see GatewaySettings.
    """

    def __init__(self, folder: Path, state: GatewayState, limit_mb: int, quiet_s: float) -> None:
        self._folder, self._state = folder, state
        self._limit, self._quiet_s = limit_mb * MIB, quiet_s
        self._lock = threading.RLock()
        for name in (_STUDIES, _ANSWERS, _TRASH):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._empty_trash()
        for left in folder.rglob(".*"):  # of writing that a kill ended
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self._used = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())

    @property
    def used(self) -> int:
        """Bytes of images and answers."""
        return self._used

    def store(self, study_uid: str, image_uid: str, content: bytes) -> bool:
        """Keep one image; False where it was there already.

        When this returns, the image and the news of it survive a kill.

        Raises:
            SpoolFull: see there.
        """
        key = study_key(study_uid)
        path = self._images(key) / f"{hashlib.sha256(image_uid.encode()).hexdigest()[:32]}.dcm"
        with self._lock:
            known = path.is_file()
            if not known:
                self._make_room(len(content), key)
                with atomic(path) as temporary, temporary.open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                    now = self._state.clock()
                    os.utime(temporary, (now, now))
                self._used += len(content)
            # A kill may have come between an image and its news.
            if not known or path.stat().st_mtime > self._state.last_arrival(key) + _ROUNDING_S:
                self._state.arrived(key, study_uid, self._quiet_s)
        return not known

    def images(self, key: str) -> list[Path]:
        """Files of a study's images."""
        return sorted(self._images(key).glob("[!.]*"))

    def answer(self, key: str, digest: str) -> Path:
        """Folder of an answer to images with a digest; it is there once the answer is whole."""
        return self._folder / _ANSWERS / key / digest

    @contextmanager
    def answering(self, key: str, digest: str) -> Iterator[Path]:
        """Yield a folder that becomes `answer` on success."""
        target = self.answer(key, digest)
        with atomic(target) as aside:
            aside.mkdir()
            yield aside
            size = sum(f.stat().st_size for f in aside.iterdir())
        with self._lock:
            self._used += size
            self._make_way(0, key)

    def expire(self, before: float) -> None:
        """Forget the images and answers of studies that ended before a moment."""
        with self._lock:
            for study in self._state.ended_before(before):
                self._remove(study.key)

    def _images(self, key: str) -> Path:
        return self._folder / _STUDIES / key

    def _make_room(self, needed: int, key: str) -> None:
        self._make_way(needed, key)
        if self._used + needed > self._limit:
            raise SpoolFull(self._folder, "full of studies that wait", "raise spool_mb")

    def _make_way(self, needed: int, key: str) -> None:
        """Forget ended studies, the oldest first, but for one, until there is room."""
        for study in self._state.ended_before(self._state.clock() + 1.0):
            if self._used + needed <= self._limit:
                return
            if study.key != key:
                self._remove(study.key)

    def _remove(self, key: str) -> None:
        """By renaming first: a part of a series must never be taken for the series."""
        for kind in (_STUDIES, _ANSWERS):
            old, trash = self._folder / kind / key, self._folder / _TRASH / f"{kind}-{key}"
            if old.is_dir():
                self._used -= sum(f.stat().st_size for f in old.rglob("*") if f.is_file())
                old.replace(trash)
        self._empty_trash()

    def _empty_trash(self) -> None:
        for folder in (self._folder / _TRASH).iterdir():
            shutil.rmtree(folder)
