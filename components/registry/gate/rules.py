"""The promotion gate: pure functions from evidence to a verdict that says what it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.vocabulary import Model, Origin, Split
from components.evaluate.statistics.metrics import expected_calibration_error
from components.evaluate.subgroups.gaps import detectable_gap, gap_by_chance
from components.registry import settings as rules
from components.registry.gate.champion import Champion
from components.registry.gate.evidence import leaks, scores
from components.registry.gate.figures import SMALLEST_CLASS, _accuracy_by, _against, _paired
from components.registry.gate.verdict import Approval, ComparedChampion, GateVerdict, RuleVerdict

if TYPE_CHECKING:
    import pandas as pd


CALIBRATION_BINS = 10
"""Equal-width bins of the calibration error."""


SUBGROUP_ALPHA = 0.05
"""Significance level at which the detectable gap between subgroups is told."""


NEVER_OVERRIDDEN = frozenset({"trained_on_patients"})
"""Rules that no person's approval can lift."""


@dataclass(frozen=True)
class Evidence:
    """Everything a rule may look at.

    Attributes:
        predictions: patient-level rows (`evidence.read_predictions`).
        sets: the "sets" block of evaluation.json.
        validation: content of validation.json.
        manifest: rows of the public manifest.
        features: rows of features.csv.
        trained_on: "patients" or "phantoms".
        champion: None while there is none.
    """

    predictions: pd.DataFrame
    sets: dict[str, Any]
    validation: dict[str, Any]
    manifest: list[dict[str, str]]
    features: list[dict[str, str]]
    trained_on: str
    champion: Champion | None = None

    @property
    def set_names(self) -> list[str]:
        """Test sets, sorted."""
        return sorted(self.predictions["set"].unique())

    @property
    def external(self) -> list[str]:
        """External test sets; the internal one when there is no other."""
        return [name for name in self.set_names if name != Split.INTERNAL] or self.set_names


@dataclass(frozen=True)
class RuleOutcome:
    """What a rule found: whether it is met, the numbers it looked at, and a sentence."""

    passed: bool
    found: dict[str, Any]
    reason: str


def apply_gate(evidence: Evidence, gate: tuple[rules.Rule, ...], approve: str = "") -> GateVerdict:
    """Apply the rules of a gate to what is known of a run.

    `passed` says that every rule is met. `promotable` also holds when a person approved in spite of
    refusals, but never against a rule in NEVER_OVERRIDDEN, nor for a model trained on phantoms,
    whether or not a rule of the gate says so.
    """
    verdicts = []
    for rule in gate:
        outcome = _CHECKS[type(rule)](rule, evidence)
        verdicts.append(
            RuleVerdict(
                rule=rule.rule,
                passed=outcome.passed,
                required=rule.model_dump(mode="json", exclude={"rule"}),
                found=outcome.found,
                reason=outcome.reason,
            )
        )
    refused = {verdict.rule for verdict in verdicts if not verdict.passed}
    person, _, reason = approve.partition(":")
    approval = (
        Approval(name=person.strip(), reason=reason.strip(), vouched=False) if approve else None
    )
    allowed = not refused or (approval is not None and not refused & NEVER_OVERRIDDEN)
    champion = evidence.champion
    return GateVerdict(
        passed=not refused,
        promotable=allowed and evidence.trained_on == Origin.PATIENTS,
        trained_on=Origin(evidence.trained_on),
        rules=tuple(verdicts),
        approval=approval,
        champion=champion and ComparedChampion(release=champion.release, version=champion.version),
    )


def _validation_passed(rule: rules.ValidationPassed, evidence: Evidence) -> RuleOutcome:
    patients = int(evidence.validation.get("patients") or 0)
    quarantined = int(evidence.validation.get("quarantined") or 0)
    share = quarantined / patients if patients else 1.0
    return RuleOutcome(
        share <= rule.max_quarantined,
        {"patients": patients, "quarantined": quarantined, "share": share},
        f"{quarantined} of {patients} patients quarantined",
    )


def _no_leakage(rule: rules.NoLeakage, evidence: Evidence) -> RuleOutcome:
    tested = set(evidence.predictions["patient_id"])
    found = leaks(evidence.manifest, evidence.features, tested)
    reason = found[0] if found else f"none of {len(tested)} tested patients was learnt from"
    return RuleOutcome(bool(tested) and not found, {"tested": len(tested), "leaks": found}, reason)


def _trained_on_patients(rule: rules.TrainedOnPatients, evidence: Evidence) -> RuleOutcome:
    found = evidence.trained_on
    return RuleOutcome(found == Origin.PATIENTS, {"trained_on": found}, f"trained on {found}")


def _dice_floor(rule: rules.DiceFloor, evidence: Evidence) -> RuleOutcome:
    means = {
        name: (evidence.sets.get(name, {}).get("dice") or {}).get("mean")
        for name in evidence.set_names
    }
    known = {name: mean for name, mean in means.items() if mean is not None}
    if not known:
        return RuleOutcome(False, {"dice": means}, "no test set has manual masks")
    worst = min(known, key=lambda name: known[name])
    return RuleOutcome(
        known[worst] >= rule.minimum,
        {"dice": means},
        f"lowest mean Dice {known[worst]:.3f} ({worst}), floor {rule.minimum:g}",
    )


def _better_than_age(rule: rules.BetterThanAge, evidence: Evidence) -> RuleOutcome:
    found: dict[str, Any] = {}
    failed = []
    for name in evidence.external:
        pair = _paired(evidence.predictions, evidence.predictions, name, rule.model, Model.AGE)
        if pair is None:
            found[name] = None
            failed.append(f"{name}: fewer than {SMALLEST_CLASS} patients of a class")
            continue
        ours, age = pair
        found[name] = _against(ours, age)
        if problem := _not_better(found[name], rule):
            failed.append(f"{name}: {problem}")
    words = "; ".join(failed) or f"better than age alone on {', '.join(found)}"
    return RuleOutcome(bool(found) and not failed, found, words)


def _not_better(found: dict[str, float], rule: rules.BetterThanAge) -> str:
    if found["difference"] <= 0:
        return f"AUROC {found['auroc']:.3f} against {found['other_auroc']:.3f} of age"
    for test in rule.tests:
        if test == "binomial" and found["accuracy"] <= found["other_accuracy"]:
            return f"accuracy {found['accuracy']:.3f}, age {found['other_accuracy']:.3f}"
        value = found[f"{test}_p"]
        if not value < rule.alpha:
            return f"{test} P = {value:.3g}"
    return ""


def _non_inferior(rule: rules.NonInferiorToChampion, evidence: Evidence) -> RuleOutcome:
    champion = evidence.champion
    if champion is None:
        return RuleOutcome(True, {"champion": None}, "there is no champion yet")
    if champion.trained_on != Origin.PATIENTS and evidence.trained_on == Origin.PATIENTS:
        return RuleOutcome(True, {"champion": champion.release}, "the champion knows only phantoms")
    pair = _paired(evidence.predictions, champion.predictions, None, rule.model, rule.model)
    shared = 0 if pair is None else len(pair[0].table)
    union = shared + len(champion.left_out) + len(champion.spoilt)
    found: dict[str, Any] = {
        "champion": champion.release,
        "shared_patients": shared,
        "union": union,
        "asked": list(champion.asked),
        "left_out": dict(champion.left_out),
        "spoilt": list(champion.spoilt),
    }
    if champion.spoilt:
        spoilt = f"learnt from {len(champion.spoilt)} patients of the champion's frozen test sets"
        return RuleOutcome(False, found, spoilt)
    if shared < rule.min_share * union:
        few = f"only {shared} of {union} test patients of both can be compared"
        return RuleOutcome(False, found, f"{few}, {rule.min_share:.0%} needed")
    if pair is None or shared < rule.min_patients:
        few = f"only {shared} test patients shared with the champion, {rule.min_patients} needed"
        return RuleOutcome(False, found, few)
    found.update(_against(*pair, confidence=rule.confidence))
    return RuleOutcome(
        found["low"] > -rule.margin,
        found,
        f"AUROC {found['difference']:+.3f} against {champion.release} on {shared} patients, "
        f"{100 * rule.confidence:g} % CI from {found['low']:+.3f}; margin {rule.margin:g}",
    )


def _subgroup_gap(rule: rules.SubgroupGap, evidence: Evidence) -> RuleOutcome:
    gaps: dict[str, Any] = {}
    for name in evidence.set_names:
        answers = scores(evidence.predictions, name, rule.model)
        for attribute in rule.attributes:
            counts = _accuracy_by(answers, attribute, rule.min_patients)
            if len(counts) > 1:
                gaps[f"{name}, {attribute}"] = _gap_of(counts)
    if not gaps:
        return RuleOutcome(True, {}, f"no two groups of {rule.min_patients} patients to compare")
    worst = max(gaps, key=lambda key: gaps[key]["gap"])
    return RuleOutcome(
        gaps[worst]["gap"] <= rule.ceiling,
        gaps,
        f"largest gap in accuracy {gaps[worst]['gap']:.3f} ({worst}), ceiling {rule.ceiling:g}; "
        f"of equal groups P = {gaps[worst]['p']:.2g}, and a gap under "
        f"{gaps[worst]['detectable']:.2f} would likely go unseen",
    )


def _gap_of(counts: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """The widest gap, whether chance explains it, and which gap these groups could show."""
    shares = {group: right / total for group, (right, total) in counts.items()}
    best, worst = (counts[pick(shares, key=lambda g: shares[g])] for pick in (max, min))
    return {
        "gap": max(shares.values()) - min(shares.values()),
        "accuracy": shares,
        "patients": {group: total for group, (_, total) in counts.items()},
        "p": gap_by_chance(best, worst),
        "detectable": detectable_gap(best, worst, SUBGROUP_ALPHA),
    }


def _calibration(rule: rules.CalibrationCeiling, evidence: Evidence) -> RuleOutcome:
    errors = {}
    for name in evidence.set_names:
        answers = scores(evidence.predictions, name, rule.model)
        if len(answers.table):
            errors[name] = expected_calibration_error(
                answers.idh, answers.probability, CALIBRATION_BINS
            )
    if not errors:
        return RuleOutcome(False, {}, f"no predictions of {rule.model.value}")
    worst = max(errors, key=lambda name: errors[name])
    return RuleOutcome(
        errors[worst] <= rule.ceiling,
        {"expected_calibration_error": errors},
        f"largest calibration error {errors[worst]:.3f} ({worst}), ceiling {rule.ceiling:g}",
    )


_CHECKS: dict[type, Callable[[Any, Evidence], RuleOutcome]] = {
    rules.ValidationPassed: _validation_passed,
    rules.NoLeakage: _no_leakage,
    rules.TrainedOnPatients: _trained_on_patients,
    rules.DiceFloor: _dice_floor,
    rules.BetterThanAge: _better_than_age,
    rules.NonInferiorToChampion: _non_inferior,
    rules.SubgroupGap: _subgroup_gap,
    rules.CalibrationCeiling: _calibration,
}
