"""Bases of settings and documents: a misspelt key is an error, not a default."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from components.core.errors import BadInput


class Document(BaseModel):
    """Content of a JSON file, or a part of it; frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_file(cls, path: Path, what: str, remedy: str) -> Self:
        """Read a JSON file. Raises BadInput: missing, or not `what`; names the first fault."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc'])) or 'its content'}: {first['msg']}"
        except OSError as error:
            problem = str(error)
        raise BadInput(path, f"not {what} ({problem})", remedy)


class Settings(Document):
    """What a profile may set: a document, hashable by content."""

    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON of these settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
