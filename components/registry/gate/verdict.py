"""gate.json and published.json: what the gate found, and what became of a publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from components.core.files import write_json
from components.core.settings import Document
from components.core.vocabulary import Origin

PUBLISHED_FILE = "published.json"


def person_and_reason(text: str) -> tuple[str, str] | None:
    """The parts of "name: reason"; None where either is missing."""
    name, _, reason = (part.strip() for part in text.partition(":"))
    return (name, reason) if name and reason else None


class RuleVerdict(Document):
    """One rule: whether it is met, what it demands, the numbers it looked at, and a sentence."""

    rule: str
    passed: bool
    required: dict[str, Any]
    found: dict[str, Any]
    reason: str


class Approval(Document):
    """A person who lets a release through in spite of refusals, and why.

    `vouched`: whether the person signed; else a name was typed, by anybody.
    """

    name: str
    reason: str
    vouched: bool = False


class ComparedChampion(Document):
    """The champion that a release was compared with."""

    release: str
    version: str


class GateVerdict(Document):
    """Content of gate.json.

    Attributes:
        passed: every rule is met.
        promotable: passed, or approved by a person; trained on patients in either case.
        trained_on: None where the gate was not applied.
        reason: why the gate was not applied; empty where it was.
    """

    passed: bool
    promotable: bool
    rules: tuple[RuleVerdict, ...]
    trained_on: Origin | None = None
    approval: Approval | None = None
    champion: ComparedChampion | None = None
    reason: str = ""

    @property
    def summary(self) -> str:
        """The verdict in a few words."""
        refused = [rule.rule for rule in self.rules if not rule.passed]
        text = f"refused by {', '.join(refused)}" if refused else "passed"
        if self.approval is None:
            return text
        vouched = "" if self.approval.vouched else " (nobody vouched)"
        return f"{text}; overridden by {self.approval.name}: {self.approval.reason}{vouched}"

    def content(self) -> dict[str, Any]:
        """As JSON's own types; what was never set has no key."""
        return self.model_dump(mode="json", exclude_unset=True)


class Published(Document):
    """The outcome of publishing; content of published.json.

    Attributes:
        mlflow_run_id: of the parent run; None while the run is only kept on disk.
        release: release id.
        gate: the verdict.
        registered: registered model -> version.
        promotion: "champion", "challenger" or "" (candidate only).
        pending: folder of a run kept on disk because the store was away.
    """

    mlflow_run_id: str | None
    release: str
    gate: GateVerdict
    registered: dict[str, str] = Field(default_factory=dict)
    promotion: str = ""
    pending: str = ""

    def write(self, folder: Path) -> None:
        """Write published.json into `folder`."""
        content = {**self.model_dump(mode="json"), "gate": self.gate.content()}
        write_json(folder / PUBLISHED_FILE, content)

    @classmethod
    def read(cls, folder: Path) -> Published:
        """Inverse of `write`. Raises OSError or ValueError where there is none."""
        return cls.model_validate_json((folder / PUBLISHED_FILE).read_bytes())
