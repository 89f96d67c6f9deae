"""A published store on disk, to read or to tamper with."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from components.registry.gate.verdict import Published
from components.registry.run_artifacts import RunArtifacts
from components.registry.settings import PublishSettings


@dataclass(frozen=True)
class Shop:
    """A store on disk, what was published into it, and from which folders."""

    root: Path
    runs: tuple[RunArtifacts, ...]
    published: tuple[Published, ...]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root}/mlflow/mlflow.db"

    @property
    def settings(self) -> PublishSettings:
        return PublishSettings(tracking_uri=self.uri, attempts=1, patience_s=0)

    def sql(self, statement: str, *values: object) -> None:
        """Change the database behind MLflow's back."""
        with sqlite3.connect(self.root / "mlflow" / "mlflow.db") as database:
            changed = database.execute(statement, values).rowcount
        database.close()
        assert changed > 0, "the tampering changed nothing"

    def ask(self, query: str) -> str:
        """The one value a query gives."""
        with sqlite3.connect(self.root / "mlflow" / "mlflow.db") as database:
            (value,) = database.execute(query).fetchone()
        database.close()
        return value
