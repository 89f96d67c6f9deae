"""What the gateway remembers of studies: SQLite, so that a kill at any moment forgets nothing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    key TEXT PRIMARY KEY,
    study_uid TEXT NOT NULL,
    phase TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    arrived REAL NOT NULL,
    due REAL NOT NULL,
    changed REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    answered TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS by_due ON studies (phase, due);
CREATE TABLE IF NOT EXISTS fetched (series_uid TEXT PRIMARY KEY, images INTEGER NOT NULL);
"""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0


class Phase(StrEnum):
    """Where a study stands; the last three are ends until another image of it arrives."""

    RECEIVING = "receiving"
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


ENDS = (Phase.DONE, Phase.REFUSED, Phase.FAILED)


@dataclass(frozen=True)
class StudyRecord:
    """One study.

    Attributes:
        key: names it in folders and logs; says nothing of who it is.
        study_uid: StudyInstanceUID.
        generation: counts its images as they arrive.
        arrived, due, changed: seconds since 1970: its last image; when it is to be worked on; when
            its phase was set.
        attempts: how often something was away since its last image.
        reason: why it waits, was refused or failed.
        answered: digest of the images whose answer was stored; empty for none.
        status: of that answer.
    """

    key: str
    study_uid: str
    phase: Phase
    generation: int
    arrived: float
    due: float
    changed: float
    attempts: int
    reason: str
    answered: str
    status: str


class GatewayState:
    """The studies of one gateway, on disk. Safe to share between threads.

    Args:
        path: SQLite file; made where it is missing.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)
        self._database.row_factory = sqlite3.Row

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def arrived(self, key: str, study_uid: str, quiet_s: float) -> None:
        """An image of a study came in: it is to be worked on once none has for `quiet_s`."""
        now = self.clock()
        self._execute(
            "INSERT INTO studies (key, study_uid, phase, arrived, due, changed) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET phase = excluded.phase, "
            "arrived = excluded.arrived, due = excluded.due, changed = excluded.changed, "
            "generation = generation + 1, attempts = 0, reason = ''",
            (key, study_uid, Phase.RECEIVING, now, now + quiet_s, now),
        )

    def last_arrival(self, key: str) -> float:
        """When the last image of a study came in, seconds since 1970; 0 for an unknown one."""
        found = self._select("WHERE key = ?", (key,))
        return found[0].arrived if found else 0.0

    def next_due(self) -> StudyRecord | None:
        """The study that has been due for longest."""
        found = self._select(
            "WHERE phase IN (?, ?) AND due <= ? ORDER BY due LIMIT 1",
            (Phase.RECEIVING, Phase.WAITING, self.clock()),
        )
        return found[0] if found else None

    def end(self, study: StudyRecord, phase: Phase, reason: str = "") -> None:
        """Set where a study ends, unless an image of it came in meanwhile."""
        self._set(study, phase, self.clock(), study.attempts, reason)

    def postpone(self, study: StudyRecord, reason: str) -> None:
        """Try a study again after a pause that doubles each time, likewise."""
        pause = min(FIRST_PAUSE_S * 2.0 ** min(study.attempts, 20), LONGEST_PAUSE_S)
        due = self.clock() + pause
        self._set(study, Phase.WAITING, due, study.attempts + 1, reason)

    def _set(
        self, study: StudyRecord, phase: Phase, due: float, attempts: int, reason: str
    ) -> None:
        self._execute(
            "UPDATE studies SET phase = ?, due = ?, changed = ?, attempts = ?, reason = ? "
            "WHERE key = ? AND generation = ?",
            (phase, due, self.clock(), attempts, reason, study.key, study.generation),
        )

    def stored(self, study: StudyRecord, digest: str, status: str) -> None:
        """The answer to images with this digest lies where it belongs."""
        self._execute(
            "UPDATE studies SET answered = ?, status = ? WHERE key = ?",
            (digest, status, study.key),
        )

    def studies(self) -> list[StudyRecord]:
        """All of them, the one that changed last first."""
        return self._select("ORDER BY changed DESC, key", ())

    def ended_before(self, moment: float) -> list[StudyRecord]:
        """Studies that need no more work since before a moment, the oldest first."""
        return self._select(
            "WHERE phase IN (?, ?, ?) AND changed < ? ORDER BY changed", (*ENDS, moment)
        )

    def images_fetched(self, series_uid: str) -> int:
        """How many images a polled series had when it was fetched."""
        with self._lock:
            row = self._database.execute(
                "SELECT images FROM fetched WHERE series_uid = ?", (series_uid,)
            ).fetchone()
        return int(row["images"]) if row else 0

    def fetched(self, series_uid: str, images: int) -> None:
        """A polled series was fetched whole."""
        self._execute("INSERT OR REPLACE INTO fetched VALUES (?, ?)", (series_uid, images))

    def _select(self, rest: str, values: tuple[Any, ...]) -> list[StudyRecord]:
        with self._lock:
            rows = self._database.execute(f"SELECT * FROM studies {rest}", values).fetchall()  # noqa: S608
        return [StudyRecord(**{**dict(row), "phase": Phase(row["phase"])}) for row in rows]

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._database.execute(statement, values)
