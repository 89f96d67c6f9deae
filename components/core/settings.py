"""Base of every settings model: a misspelt key in a profile is an error, not a default."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, strict about unknown keys, and hashable by content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON of these settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
