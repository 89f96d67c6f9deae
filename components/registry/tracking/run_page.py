"""What the page of a parent run says at its top."""

from __future__ import annotations

from typing import Any

from components.core.html import number
from components.core.vocabulary import Model
from components.evaluate.report.formatting import interval
from components.registry.gate.verdict import GateVerdict

_MISSING = "-"
_DOCUMENTS = (
    "Model card, report, evaluation and bill of materials (CycloneDX): artifacts of this run, in "
    "`documents/`. Statements of what was made of what (in-toto): in `attestations/`."
)


def describe_run(release: str, trained_on: str, sets: dict[str, Any], gate: GateVerdict) -> str:
    """Markdown at the top of the parent run's page: the headline table and the verdict."""
    lines = [
        f"**{release}**, trained on **{trained_on}**. Research use only.",
        "",
        f"**Gate: {gate.summary}**",
        "",
        "| test set | patients | Dice | model | accuracy | AUROC (95 % CI) | AUPRC (95 % CI) |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for name, block in sets.items():
        dice = (block.get("dice") or {}).get("mean")
        for model in (m.value for m in Model if m.value in block):
            score = block[model]
            lines.append(
                f"| {name} | {block.get('patients', '')} | {number(dice, 3, _MISSING)} | {model} "
                f"| {number(score.get('accuracy'), 3, _MISSING)} | {_area(score.get('auroc'))} "
                f"| {_area(score.get('auprc'))} |"
            )
    lines += ["", _DOCUMENTS, ""]
    lines += [
        f"- {'passed' if rule.passed else 'REFUSED'}: `{rule.rule}`: {rule.reason}"
        for rule in gate.rules
    ]
    return "\n".join(lines)


def _area(found: dict[str, Any] | None) -> str:
    return interval(found, 3, "-", _MISSING)
