"""Every rule of the gate, refused and passed, on evidence made for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from components.registry import settings as rules
from components.registry.gate.evidence import leaks
from components.registry.gate.rules import Champion, Evidence, apply_gate
from components.registry.settings import DEFAULT_GATE, PublishSettings


def predictions(skill: float, seed: int = 0, count: int = 80, **attributes: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    idh = np.arange(count) % 2
    frames = []
    for model, d in (("hybrid", skill), ("age", 0.5)):
        logit = d * (d * (idh - 0.5) + rng.normal(size=count))
        columns = {
            "patient_id": [f"P{i:03d}" for i in range(count)],
            "set": "snuh",
            "model": model,
            "idh": idh,
            "probability": 1 / (1 + np.exp(-logit)),
            "sex": np.where(np.arange(count) % 4 < 2, "F", "M"),
            "age": 50.0,
        }
        frames.append(pd.DataFrame({**columns, **attributes}))
    return pd.concat(frames, ignore_index=True)


def evidence(**changes: Any) -> Evidence:
    base = Evidence(
        predictions=predictions(3.0),
        sets={"snuh": {"dice": {"mean": 0.9, "sd": 0.05}}},
        validation={"patients": 100, "quarantined": 3},
        manifest=[{"patient_id": "T1", "subset": "training", "fold": "", "t1c": "sha256:a"}],
        features=[],
        trained_on="patients",
    )
    return replace(base, **changes)


def verdict(rule: rules.Rule, given: Evidence) -> dict[str, Any]:
    return apply_gate(given, (rule,)).rules[0].model_dump()


def champion(table: pd.DataFrame, trained_on: str = "patients") -> Champion:
    return Champion("glioma-idh-abc", "1", trained_on, table)


def test_good_evidence_passes_every_rule() -> None:
    gate = apply_gate(evidence(), DEFAULT_GATE)
    assert gate.passed and gate.promotable, gate.rules
    assert [rule.rule for rule in gate.rules] == [rule.rule for rule in DEFAULT_GATE]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        (rules.ValidationPassed(), {"validation": {"patients": 10, "quarantined": 5}}),
        (rules.ValidationPassed(), {"validation": {}}),
        (rules.TrainedOnPatients(), {"trained_on": "phantoms"}),
        (rules.DiceFloor(), {"sets": {"snuh": {"dice": {"mean": 0.7, "sd": None}}}}),
        (rules.DiceFloor(), {"sets": {}}),
        (rules.BetterThanAge(), {"predictions": predictions(0.5, seed=4)}),
        (rules.NonInferiorToChampion(), {"champion": champion(predictions(3.0).iloc[:10])}),
        (rules.CalibrationCeiling(ceiling=0.01), {}),
        (
            rules.NoLeakage(),
            {"manifest": [{"patient_id": "P000", "subset": "training", "fold": ""}]},
        ),
    ],
)
def test_rules_refuse(rule: rules.Rule, changes: dict[str, Any]) -> None:
    found = verdict(rule, evidence(**changes))
    assert not found["passed"]
    assert found["reason"]


def test_age_must_be_beaten_on_every_external_set() -> None:
    both = pd.concat(
        [predictions(3.0).assign(set="snuh"), predictions(0.5, seed=4).assign(set="tcia")]
    )
    found = verdict(rules.BetterThanAge(), evidence(predictions=both))
    assert not found["passed"]
    assert found["reason"].startswith("tcia: ")
    assert found["found"]["snuh"]["delong_p"] < 0.05
    internal = pd.concat(
        [both[both["set"] == "snuh"], both[both["set"] == "tcia"].assign(set="internal")]
    )
    assert verdict(rules.BetterThanAge(), evidence(predictions=internal))["passed"]


@pytest.mark.parametrize("mutants", [0, 1])
def test_a_set_too_small_to_compare_is_refused_in_words(mutants: int) -> None:
    """DeLong's variance needs two patients of each class; a verdict holds numbers or nothing."""
    tiny = predictions(3.0, count=8)
    few = tiny[tiny["patient_id"].isin([f"P{i:03d}" for i in (0, 2, 4, 1)[: 3 + mutants]])]
    gate = apply_gate(evidence(predictions=few, champion=champion(few)), DEFAULT_GATE)
    json.dumps(gate.content(), allow_nan=False)
    reasons = {rule.rule: rule.reason for rule in gate.rules if not rule.passed}
    assert reasons["better_than_age"] == "snuh: fewer than 2 patients of a class"
    assert "non_inferior_to_champion" in reasons


@pytest.mark.parametrize("failing", ["delong", "binomial"])
def test_either_test_against_age_refuses_alone(failing: str) -> None:
    """The same ranking at a better threshold, and a better ranking at the same accuracy."""
    idh = np.arange(40) % 2
    score = (1.2 if failing == "delong" else 0.3) * idh + np.random.default_rng(0).normal(size=40)
    age = score - 3.0 if failing == "delong" else score - 0.15
    if failing == "delong":
        ours = score - 0.6 + 0.05 * idh
    else:
        right = int(((age > 0) == (idh == 1)).sum())
        ours = np.where(idh == 1, -1.0, -2.0)
        ours[np.flatnonzero(idh)[: right - 19]] = 1.0
    table = predictions(3.0, count=40)
    table["probability"] = 1 / (1 + np.exp(-np.concatenate([ours, age])))
    tests = {
        name: verdict(rules.BetterThanAge(tests=(name,)), evidence(predictions=table))["passed"]
        for name in ("delong", "binomial")
    }
    assert tests == {"delong": failing != "delong", "binomial": failing != "binomial"}
    found = verdict(rules.BetterThanAge(), evidence(predictions=table))
    assert not found["passed"] and f"{failing} P = " in found["reason"]
    deployers = rules.BetterThanAge(tests=())
    assert verdict(deployers, evidence(predictions=table))["passed"]


def test_non_inferiority_is_paired_on_the_same_patients() -> None:
    rule = rules.NonInferiorToChampion(margin=0.05)
    same = predictions(3.0)
    equal = verdict(rule, evidence(champion=champion(same)))
    assert equal["passed"] and equal["found"]["difference"] == 0.0
    worse = evidence(predictions=predictions(0.8, seed=2), champion=champion(same))
    found = verdict(rule, worse)
    assert not found["passed"] and found["found"]["low"] < -0.05
    shuffled = champion(same.sample(frac=1.0, random_state=1))
    assert verdict(rule, evidence(champion=shuffled))["found"] == equal["found"]


def test_a_champion_of_phantoms_is_no_hurdle_for_patients() -> None:
    weak = evidence(
        predictions=predictions(0.8), champion=champion(predictions(3.0), trained_on="phantoms")
    )
    assert verdict(rules.NonInferiorToChampion(), weak)["passed"]


def test_subgroups_that_differ_are_refused() -> None:
    table = predictions(3.0)
    women = (table["sex"] == "F") & (table["model"] == "hybrid")
    table.loc[women, "probability"] = 1.0 - table.loc[women, "idh"]
    found = verdict(rules.SubgroupGap(), evidence(predictions=table))
    assert not found["passed"]
    sexes = found["found"]["snuh, sex"]
    assert sexes["accuracy"]["F"] == 0.0
    assert sexes["p"] < 0.001
    assert set(sexes["patients"]) == {"F", "M"}
    assert f"a gap under {sexes['detectable']:.2f} would likely go unseen" in found["reason"]
    small = rules.SubgroupGap(min_patients=60)
    assert verdict(small, evidence(predictions=table))["passed"]


def test_approval_lifts_any_rule_but_phantoms() -> None:
    weak = evidence(sets={})
    assert not apply_gate(weak, DEFAULT_GATE).promotable
    lifted = apply_gate(weak, DEFAULT_GATE, "Ada: masks follow next week")
    assert not lifted.passed and lifted.promotable
    said = {"name": "Ada", "reason": "masks follow next week", "vouched": False}
    assert lifted.content()["approval"] == said
    phantoms = replace(weak, trained_on="phantoms")
    assert not apply_gate(phantoms, DEFAULT_GATE, "Ada: please").promotable
    assert not apply_gate(phantoms, (), "Ada: please").promotable, "a gate without rules"


@pytest.mark.parametrize("approve", ["Ada", ": reason", "Ada:", "Ada:  "])
def test_an_approval_needs_a_name_and_a_reason(approve: str) -> None:
    with pytest.raises(ValidationError):
        PublishSettings(approve=approve)


def test_settings_survive_json_and_refuse_unknown_rules() -> None:
    settings = PublishSettings(gate=(rules.DiceFloor(minimum=0.7), rules.NoLeakage()))
    assert PublishSettings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError):
        PublishSettings.model_validate({"gate": [{"rule": "dice_flor"}]})
    with pytest.raises(ValidationError):
        PublishSettings(gate=(rules.NoLeakage(), rules.NoLeakage()))


def _row(patient: str, subset: str, fold: str = "", image: str = "") -> dict[str, str]:
    return {"patient_id": patient, "subset": subset, "fold": fold, "t1c": image}


@pytest.mark.parametrize(
    ("manifest", "features", "words"),
    [
        ([_row("A", "training"), _row("A", "snuh")], [], "A stands in snuh and training"),
        ([_row("A", "tuning")], [], "A was learnt from and tested on"),
        (
            [_row("A", "snuh", image="sha256:1"), _row("B", "training", image="sha256:1")],
            [],
            "A and B are one patient",
        ),
        (
            [_row("A", "training", "0", "sha256:1"), _row("B", "training", "1", "sha256:1")],
            [],
            "A and B are one patient",
        ),
        (
            [_row("A", "snuh"), _row("B", "training")],
            [{"patient_id": p, "Elongation": "0.71234567", "age": "50"} for p in "AB"],
            "A and B are one patient",
        ),
    ],
)
def test_leaks_are_named(
    manifest: list[dict[str, str]], features: list[dict[str, str]], words: str
) -> None:
    assert any(words in leak for leak in leaks(manifest, features, {"A"}))


def test_out_of_fold_predictions_are_no_leak() -> None:
    manifest = [_row("A", "training", "0", "sha256:1"), _row("B", "training", "1", "sha256:2")]
    assert leaks(manifest, [], {"A", "B"}) == []
    twins_in_one_fold = [
        _row("A", "training", "0", "sha256:1"),
        _row("B", "training", "0", "sha256:1"),
    ]
    assert leaks(twins_in_one_fold, [], {"A", "B"}) == []
