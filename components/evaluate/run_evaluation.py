"""A run's predictions, split by set and model, and every figure and test computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput
from components.core.progress import Progress
from components.core.vocabulary import DEVELOPMENT, LEARNT, Model, Origin, Split, Status
from components.evaluate.predictions_file import compare_models
from components.evaluate.read_tables import PEOPLE, ModelPredictions, predictions_of
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics import curves, metrics
from components.evaluate.statistics.conformal import coverage_block
from components.evaluate.statistics.paired_tests import holm
from components.evaluate.statistics.performance import (
    correct,
    patient_block,
    slice_block,
    without_nan,
)
from components.evaluate.statistics.segmentation import segmentation_block
from components.evaluate.statistics.table_one import Cohort, compare_cohorts
from components.evaluate.subgroups.figures import subgroup_block

if TYPE_CHECKING:
    import pandas as pd

INTERNAL = Split.INTERNAL.value
TESTS = ("delong_p", "binomial_p", "mcnemar_p")


class RunEvaluation:
    """Predictions split by set and model, and everything computed from them.

    Attributes:
        names: test sets, the internal one first.
        models: every model predicted, the known ones first; any other name is an ablation.
        answers: set -> model -> ModelPredictions.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        people: pd.DataFrame | None,
        settings: EvaluateSettings,
        only: str | None = None,
    ) -> None:
        self._settings = settings
        self._features = people
        self._table = table
        self._every = self._split(table)
        self.names = list(self._every)
        if only is not None:
            if only not in self._every:
                known = ", ".join(self._every)
                raise BadInput(f"set '{only}'", "no prediction is of it", f"use one of {known}")
            self.names = [only]
        self.answers = {name: self._every[name] for name in self.names}

    def _split(self, table: pd.DataFrame) -> dict[str, dict[str, ModelPredictions]]:
        """Every set -> model -> answers, whichever sets are judged."""
        tested = table[~table["subset"].isin(LEARNT)]
        names = sorted(set(tested["subset"]), key=lambda name: (name != INTERNAL, name))
        order = [model.value for model in Model]
        found = set(table["model"])
        self.models = [name for name in order if name in found] + sorted(found - set(order))
        groups = dict(tuple(tested.groupby(["subset", "model"], sort=True)))
        return {
            name: {
                model: predictions_of(groups[name, model])
                for model in self.models
                if (name, model) in groups
            }
            for name in names
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

    def evaluate_sets(
        self, known: Mapping[str, dict[str, Any]], progress: Progress
    ) -> dict[str, dict[str, Any]]:
        """What `evaluate_set` returns of every set, but for those already known."""
        total = sum(len(models) for name, models in self.answers.items() if name not in known)
        done, found = 0, {}
        for name in self.names:
            if name in known:
                found[name] = known[name]
                continue

            def report(count: int, model: str, name: str = name, before: int = done) -> None:
                progress(before + count, total, f"{name}, {model}")

            found[name] = self.evaluate_set(name, report)
            done += len(self.answers[name])
        progress(total, total, "report")
        return found

    def evaluate_set(self, name: str, report: Callable[[int, str], None]) -> dict[str, Any]:
        """Everything that one set says by itself, JSON-ready."""
        models, people = self.answers[name], self.people(name)
        figures, per_slice = self._describe(name), {}
        for index, (model, answers) in enumerate(models.items()):
            report(index, model)
            threshold = self._tuned_threshold(name, model)
            figures[model] = patient_block(answers, self._settings, threshold)
            block = slice_block(answers, self._settings, threshold)
            if block is not None:
                per_slice[model] = block
        subgroups = None
        if Model.HYBRID in models:
            subgroups = subgroup_block(models[Model.HYBRID], people, self._settings)
        return without_nan(
            {
                "figures": figures,
                "per_slice": per_slice,
                "tests": self._tests(name),
                "origin": _origin(people),
                "segmentation": segmentation_block(people, self._settings.worst_masks),
                "subgroups": subgroups,
                "conformal": coverage_block(self._hybrid(name), self._settings.confidence),
                "curves": {model: self._curves(answers) for model, answers in models.items()},
            }
        )

    def join(self, judged: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The content of evaluation.json, but for the digests of the inputs.

        Args:
            judged: what `evaluate_set` returned of every set of `names`, or that read from JSON.
        """
        blocks = {name: judged[name] for name in self.names}
        every = {name: self.people(name) for name in self.names}

        def gathered(key: str) -> dict[str, Any]:
            return {name: block[key] for name, block in blocks.items()}

        def by_model(key: str) -> dict[str, Any]:
            # JSON sorts keys: tables and colours follow the models' own order.
            return {
                name: {model: block[key][model] for model in self.models if model in block[key]}
                for name, block in blocks.items()
            }

        return without_nan(
            {
                "trained_on": self.trained_on(),
                "tested_on": gathered("origin"),
                "settings": self._settings.model_dump(mode="json"),
                "settings_sha256": self._settings.digest(),
                "models": self.models,
                "sets": gathered("figures"),
                "per_slice": by_model("per_slice"),
                "comparisons": self._adjusted({name: b["tests"] for name, b in blocks.items()}),
                "segmentation": gathered("segmentation"),
                "subgroups": {n: b["subgroups"] for n, b in blocks.items() if b["subgroups"]},
                "conformal": {n: b["conformal"] for n, b in blocks.items() if b.get("conformal")},
                "cohorts": self._cohorts(every),
                "curves": by_model("curves"),
            }
        )

    def trained_on(self) -> str:
        """ "phantoms" when any development patient is one, "patients", or "unknown"."""
        if self._features is None or "origin" not in self._features:
            return "unknown"
        development = self._features[self._features["cohort"] == DEVELOPMENT]
        return _origin(development if len(development) else self._features)

    def _hybrid(self, name: str) -> pd.DataFrame:
        """Patient-level rows of the hybrid on one set."""
        rows = self._table[self._table["subset"] == name]
        return rows[(rows["model"] == Model.HYBRID) & rows["slice"].isna()]

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
            answers, where = predictions_of(rows), "tuning"
        elif name != INTERNAL and model in self._every.get(INTERNAL, {}):
            answers, where = self._every[INTERNAL][model], INTERNAL
        else:
            return None
        seen = answers.answered
        return metrics.youden_threshold(answers.idh[seen], answers.probability[seen]), where

    @property
    def _pairs(self) -> dict[str, str]:
        """ "hybrid_vs_MODEL" -> MODEL."""
        others = [model for model in self.models if model != Model.HYBRID]
        return {f"{Model.HYBRID.value}_vs_{other}": other for other in others}

    def _tests(self, name: str) -> dict[str, Any]:
        """The hybrid against every other model on one set: pair -> tests."""
        models = self.answers[name]
        if Model.HYBRID not in models:
            return {}
        return {
            pair: compare_models(models[Model.HYBRID], models[other], self._settings)
            for pair, other in self._pairs.items()
            if other in models
        }

    def _adjusted(self, tests: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Set -> pair -> tests, each P also adjusted by Holm over the sets."""
        found: dict[str, dict[str, Any]] = {name: {} for name in self.names}
        for pair in self._pairs:
            tested = [name for name in self.names if pair in tests[name]]
            for name in tested:
                found[name][pair] = dict(tests[name][pair])
            for test in TESTS:
                found_p = [tests[name][pair][test] for name in tested]
                raw = [math.nan if p is None else p for p in found_p]
                for name, p in zip(tested, holm(raw), strict=True):
                    found[name][pair][test.replace("_p", "_holm_p")] = p
        return found

    def _cohorts(self, every: dict[str, pd.DataFrame]) -> dict[str, Any] | None:
        """Table 1: what was learnt from (where the features say) beside every test set."""
        cohorts = {name: people for name, people in every.items() if len(people)}
        if self._features is not None:
            features = self._features
            learnt = features[(features["cohort"] == DEVELOPMENT) & features["subset"].isin(LEARNT)]
            cohorts = {DEVELOPMENT: learnt, **cohorts} if len(learnt) else cohorts
        if len(cohorts) < 2:
            return None
        columns = list(PEOPLE)
        return compare_cohorts(
            [Cohort(name, people.reindex(columns=columns)) for name, people in cohorts.items()]
        )

    def _curves(self, answers: ModelPredictions) -> dict[str, Any]:
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
            "risk_coverage": curves.risk_coverage_curve(right, uncertainty, probability),
        }


def _origin(people: pd.DataFrame) -> str:
    if "origin" not in people:
        return "unknown"
    found = set(people["origin"].dropna())
    if Origin.PHANTOMS.value in found:
        return Origin.PHANTOMS.value
    return Origin.PATIENTS.value if found == {Origin.PATIENTS.value} else "unknown"
