"""The evaluation of a run: every set, every model, every test, written for machines and readers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.cohort.files import sha256_file, write_json
from components.cohort.vocabulary import Model, Origin, Status
from components.evaluate import curves, metrics
from components.evaluate.cohorts import Cohort, compare_cohorts
from components.evaluate.comparisons import holm
from components.evaluate.performance import correct, patient_block, slice_block, without_nan
from components.evaluate.segmentation import segmentation_block
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics import compare_answers
from components.evaluate.subgroups import subgroup_block
from components.evaluate.tables import (
    LEARNT,
    PEOPLE,
    Answers,
    answers_of,
    check_labels,
    read_features,
    read_predictions,
)

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

INTERNAL = "internal"
DEVELOPMENT = "development"
TESTS = ("delong_p", "binomial_p", "mcnemar_p")

Progress = Callable[[int, int, str], None]


def evaluate_predictions(
    predictions: Path,
    features: Path | None,
    settings: EvaluateSettings,
    out: Path,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge every model on every test set and write the evaluation below `out`.

    Files: evaluation.json (what is returned), report.html, model_card.md, figures/*.svg.

    Args:
        predictions: predictions.csv of the classifier, all models and sets.
        features: features.csv of the samples, with `images` beside it; None: no subgroups by size,
            no Dice, no cohort table, no failure gallery.

    Returns:
        "sets" {SET: {"patients", "dice", ..., MODEL: figures}}, "per_slice", "comparisons",
        "segmentation", "subgroups", "cohorts", "curves", "trained_on", "settings", "inputs".

    Raises:
        BadInput: see `tables.read_predictions`, `read_features` and `check_labels`.
    """
    from components.evaluate.gallery import find_failures
    from components.evaluate.report import write_report

    table = read_predictions(Path(predictions))
    people = read_features(Path(features)) if features is not None else None
    if people is not None:
        check_labels(table, people, Path(predictions))
    study = Study(table, people, settings)
    result = study.result(progress or _silent)
    result["inputs"] = {
        "predictions_sha256": sha256_file(predictions),
        "features_sha256": sha256_file(features) if features is not None else None,
    }
    write_json(out / "evaluation.json", result)
    images = Path(features).parent if features is not None else None
    failures = {
        name: find_failures(study.answers[name][Model.HYBRID], study.people(name), images, settings)
        for name in study.names
        if Model.HYBRID in study.answers[name]
    }
    write_report(result, failures, settings, out)
    return result


def _silent(done: int, total: int, what: str) -> None:
    """Report no progress."""


class Study:
    """Predictions split by set and model, and everything computed from them.

    Attributes:
        names: test sets, the internal one first.
        models: every model predicted, the known ones first; any other name is an ablation.
        answers: set -> model -> Answers.
    """

    def __init__(
        self, table: pd.DataFrame, people: pd.DataFrame | None, settings: EvaluateSettings
    ) -> None:
        self._settings = settings
        self._features = people
        self._table = table
        tested = table[~table["subset"].isin(LEARNT)]
        self.names = sorted(set(tested["subset"]), key=lambda name: (name != INTERNAL, name))
        order = [model.value for model in Model]
        found = set(table["model"])
        self.models = [name for name in order if name in found] + sorted(found - set(order))
        groups = dict(tuple(tested.groupby(["subset", "model"], sort=True)))
        self.answers: dict[str, dict[str, Answers]] = {
            name: {
                model: answers_of(groups[name, model])
                for model in self.models
                if (name, model) in groups
            }
            for name in self.names
        }

    def people(self, name: str) -> pd.DataFrame:
        """One row a patient of one set, by patient_id: features, else the predictions' columns."""
        rows = self._table[self._table["subset"] == name]
        own = rows.drop_duplicates("patient_id").set_index("patient_id").sort_index()
        if self._features is None:
            return own
        known = self._features.reindex(own.index)
        extra = [column for column in own.columns if column not in known.columns]
        return known.join(own[extra])

    def result(self, progress: Progress) -> dict[str, Any]:
        """The content of evaluation.json, but for the digests of the inputs."""
        total = sum(len(models) for models in self.answers.values())
        sets: dict[str, Any] = {}
        per_slice: dict[str, Any] = {}
        done = 0
        for name, models in self.answers.items():
            sets[name], per_slice[name] = self._describe(name), {}
            for model, answers in models.items():
                progress(done, total, f"{name}, {model}")
                done += 1
                threshold = self._tuned_threshold(name, model)
                sets[name][model] = patient_block(answers, self._settings, threshold)
                block = slice_block(answers, self._settings)
                if block is not None:
                    per_slice[name][model] = block
        progress(total, total, "report")
        every = {name: self.people(name) for name in self.names}
        hybrid = {n: m[Model.HYBRID] for n, m in self.answers.items() if Model.HYBRID in m}
        return without_nan(
            {
                "trained_on": self.trained_on(),
                "tested_on": {name: _origin(people) for name, people in every.items()},
                "settings": self._settings.model_dump(mode="json"),
                "settings_sha256": self._settings.digest(),
                "models": self.models,
                "sets": sets,
                "per_slice": per_slice,
                "comparisons": self._comparisons(),
                "segmentation": {
                    name: segmentation_block(people, self._settings.worst_masks)
                    for name, people in every.items()
                },
                "subgroups": {
                    name: subgroup_block(answers, every[name], self._settings)
                    for name, answers in hybrid.items()
                },
                "cohorts": self._cohorts(every),
                "curves": {
                    name: {model: self._curves(answers) for model, answers in models.items()}
                    for name, models in self.answers.items()
                },
            }
        )

    def trained_on(self) -> str:
        """ "phantoms" when any development patient is one, "patients", or "unknown"."""
        if self._features is None or "origin" not in self._features:
            return "unknown"
        development = self._features[self._features["cohort"] == DEVELOPMENT]
        return _origin(development if len(development) else self._features)

    def _describe(self, name: str) -> dict[str, Any]:
        people = self.people(name)
        dice = segmentation_block(people, 0)["dice"]
        status = people.get("status")
        return {
            "patients": len(people),
            "mutant": int((people["idh"] == 1).sum()),
            "wildtype": int((people["idh"] == 0).sum()),
            "unknown_idh": int(people["idh"].isna().sum()),
            "no_tumor": int((status == Status.NO_TUMOR.value).sum()) if status is not None else 0,
            "dice": dice,
        }

    def _tuned_threshold(self, name: str, model: str) -> tuple[float, str] | None:
        """Youden's threshold of predictions that this set has no part in, and where they are from.

        The tuning subset where the file has it; otherwise the internal test, for external sets.
        """
        rows = self._table[(self._table["model"] == model) & (self._table["subset"] == "tuning")]
        if len(rows):
            answers, where = answers_of(rows), "tuning"
        elif name != INTERNAL and model in self.answers.get(INTERNAL, {}):
            answers, where = self.answers[INTERNAL][model], INTERNAL
        else:
            return None
        seen = answers.answered
        return metrics.youden_threshold(answers.idh[seen], answers.probability[seen]), where

    def _comparisons(self) -> dict[str, Any]:
        """Set -> "hybrid_vs_MODEL" -> tests, each P adjusted by Holm over the sets."""
        found: dict[str, dict[str, Any]] = {name: {} for name in self.names}
        others = [model for model in self.models if model != Model.HYBRID]
        for other in others:
            pair = f"{Model.HYBRID.value}_vs_{other}"
            for name, models in self.answers.items():
                if Model.HYBRID in models and other in models:
                    both = _same_patients(models[Model.HYBRID], models[other])
                    found[name][pair] = compare_answers(*both, self._settings)
            tested = [name for name in self.names if pair in found[name]]
            for test in TESTS:
                raw = [_number(found[name][pair][test]) for name in tested]
                for name, p in zip(tested, holm(raw), strict=True):
                    found[name][pair][test.replace("_p", "_holm_p")] = p
        return found

    def _cohorts(self, every: dict[str, pd.DataFrame]) -> dict[str, Any] | None:
        """Table 1: what was learnt from (where the features say) beside every test set."""
        cohorts = [Cohort(name, people) for name, people in every.items() if len(people)]
        if self._features is not None:
            features = self._features
            learnt = features[(features["cohort"] == DEVELOPMENT) & features["subset"].isin(LEARNT)]
            if len(learnt):
                cohorts.insert(0, Cohort(DEVELOPMENT, learnt))
        cohorts = [Cohort(cohort.name, _with_people(cohort.people)) for cohort in cohorts]
        return compare_cohorts(cohorts) if len(cohorts) > 1 else None

    def _curves(self, answers: Answers) -> dict[str, Any]:
        seen = answers.answered
        idh, probability = answers.idh[seen], answers.probability[seen]
        uncertainty = None if answers.uncertainty is None else answers.uncertainty[seen]
        right = correct(answers, self._settings.threshold)[seen]
        bins, confidence = self._settings.calibration_bins, self._settings.confidence
        return {
            "roc": curves.roc_curve(idh, probability),
            "pr": curves.pr_curve(idh, probability),
            "calibration": curves.calibration_curve(idh, probability, bins, confidence),
            "decision": curves.decision_curve(idh, probability),
            "risk_coverage": curves.risk_coverage(right, uncertainty, probability),
        }


def _origin(people: pd.DataFrame) -> str:
    if "origin" not in people:
        return "unknown"
    found = set(people["origin"].dropna())
    if Origin.PHANTOMS.value in found:
        return Origin.PHANTOMS.value
    return Origin.PATIENTS.value if found == {Origin.PATIENTS.value} else "unknown"


def _with_people(people: pd.DataFrame) -> pd.DataFrame:
    """The columns that Table 1 needs, missing ones as unknown."""
    return people.reindex(columns=list(PEOPLE))


def _same_patients(first: Answers, second: Answers) -> tuple[Answers, Answers]:
    shared = np.intersect1d(first.patient_id, second.patient_id)
    return first.only(shared), second.only(shared)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
