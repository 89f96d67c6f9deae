"""The page of a parent run: the headline table, the verdict, and what an auditor asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.core.html import number
from components.core.vocabulary import DEVELOPMENT, Model
from components.evaluate.report.formatting import interval
from components.registry import names
from components.registry.attestation.statements import cohort_splits
from components.registry.gate.verdict import GateVerdict
from components.registry.ledger import Entry
from components.registry.run_artifacts import RunInfo

_MISSING = "-"


@dataclass(frozen=True)
class RunFacts:
    """What the page is written from.

    Attributes:
        entry: of the ledger, which registered the release.
        info: of the run; hardware: the machine that published it.
        manifest: rows of the public manifest.
        inputs: name -> sha256 of every file that the run handed over.
        sets: the "sets" block of evaluation.json.
    """

    entry: Entry
    info: RunInfo
    hardware: dict[str, Any]
    manifest: list[dict[str, str]]
    inputs: dict[str, str]
    sets: dict[str, Any]
    gate: GateVerdict


def describe_run(facts: RunFacts) -> str:
    """Markdown at the top of the parent run's page."""
    release, trained_on = facts.entry.details["release"], facts.entry.details["trained_on"]
    lines = [
        f"**{release}**, trained on **{trained_on}**. Research use only.",
        "",
        f"**Gate: {facts.gate.summary}**",
        "",
        "| test set | patients | Dice | model | accuracy | AUROC (95 % CI) | AUPRC (95 % CI) |",
        "|---|---:|---:|---|---:|---:|---:|",
        *_scores(facts.sets),
        "",
        # MLflow draws tables without a margin: long answers read better as a list.
        *(f"- **{question}** {' '.join(answer.split())}" for question, answer in _answers(facts)),
        "",
        "Rules of the gate:",
        "",
    ]
    lines += [
        f"- {'passed' if rule.passed else 'REFUSED'}: `{rule.rule}`: {rule.reason}"
        for rule in facts.gate.rules
    ]
    return "\n".join(lines)


def _scores(sets: dict[str, Any]) -> Iterator[str]:
    for name, block in sets.items():
        dice = (block.get("dice") or {}).get("mean")
        for model in (m.value for m in Model if m.value in block):
            score = block[model]
            yield (
                f"| {name} | {block.get('patients', '')} | {number(dice, 3, _MISSING)} | {model} "
                f"| {number(score.get('accuracy'), 3, _MISSING)} | {_area(score.get('auroc'))} "
                f"| {_area(score.get('auprc'))} |"
            )


def _area(found: dict[str, Any] | None) -> str:
    return interval(found, 3, "-", _MISSING)


def _answers(facts: RunFacts) -> Iterator[tuple[str, str]]:
    info, details = facts.info, facts.entry.details
    cohorts = cohort_splits(facts.manifest).items()
    yield (
        "Trained and tested on what?",
        "; ".join(f"{name}: {_split(name, split)}" for name, split in cohorts)
        + f". Each patient with the sha256 of every image: `{names.MANIFEST_FILE}` (accepted.csv "
        f"sha256 `{facts.inputs.get('validated/accepted.csv', _MISSING)}`); who was left out and "
        "why: `validation.html` of child run `validate`",
    )
    state = {True: "changed since that commit", False: "unchanged", None: "state unknown"}
    yield (
        "By which code?",
        f"commit `{info.code.commit or _MISSING}` ({state[info.code.dirty]}), sources sha256 "
        f"`{info.code.sources_sha256 or _MISSING}`, pinned packages sha256 "
        f"`{info.lock_sha256 or _MISSING}`; container images: "
        + (", ".join(sorted(set(info.images.values()))) or "none, run outside containers"),
    )
    seconds = ", ".join(f"{step} {spent:.0f}" for step, spent in info.durations_s.items())
    machine = ", ".join(f"{key} {value}" for key, value in facts.hardware.items() if value)
    yield (
        "With what, where, how long?",
        f"profile `{info.profile or _MISSING}`, all settings and seeds among this run's "
        f"parameters; {machine}; seconds a step: {seconds or _MISSING}; "
        f"pipeline run `{info.kfp_run_id or _MISSING}`",
    )
    yield (
        "How good is it?",
        "the table above; `documents/report.html`, `model_card.md` and `evaluation.json` beside it",
    )
    yield (
        "What is it made of?",
        "bill of materials: `documents/bom.cdx.json` (CycloneDX); what each step made of what: "
        "`attestations/` (in-toto)",
    )
    approval, key = facts.gate.approval, details.get("signed_by")
    yield (
        "Who approved it?",
        (f"{approval.name}: {approval.reason}" if approval else "nobody but the gate")
        + f" ({facts.gate.summary}); started by {info.actor or _MISSING}; "
        + (f"signed by key `{key}`" if key else "**not signed**"),
    )
    yield (
        "Was anything changed since?",
        f"`glioflow audit {names.RegisteredModel.RELEASE}/"
        f"{facts.entry.versions.get(names.RegisteredModel.RELEASE.value, '')}` compares all of "
        f"this with ledger entry {facts.entry.number}, whose hash is `{facts.entry.hash}`",
    )


def _split(cohort: str, split: dict[str, int]) -> str:
    total = f"{sum(split.values())} patients"
    if cohort != DEVELOPMENT:
        return f"{total} (external test)"
    return f"{total} ({', '.join(f'{size} {subset}' for subset, size in sorted(split.items()))})"
