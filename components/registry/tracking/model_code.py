"""The registered models, as MLflow runs them wherever a user loads one.

No part of publishing: needs nothing but the installed package to predict. A release answers as it
does when it is served.

    model = mlflow.pyfunc.load_model("models:/glioma-idh@champion")
    model.predict(pandas.DataFrame([{"patient_id": ..., "t1c": ..., "t2": ..., "flair": ...,
                                     "age": 52.0}]))
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.pyfunc import PythonModel


class GliomaModel(PythonModel):
    """What `part` in the model's configuration says: segmenter, hybrid or the whole release."""

    def load_context(self, context: Any) -> None:
        """Remember where the version's files are; they are read at the first prediction."""
        self.folder = Path(context.artifacts["files"])
        self.config = dict(context.model_config)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row in, one row out, in the order given.

        release and segmenter take manifest rows (patient_id, t1c, t2, flair, age); hybrid takes
        `images` (path of a float32 .npy [5, 3, y, x]) and the 24 numeric features.
        """
        answer = {
            "release": self._diagnose,
            "segmenter": self._segment,
            "hybrid": self._classify,
        }[self.config["part"]]
        rows: Any = model_input.to_dict("records")
        return pd.DataFrame([answer(row) for row in rows])

    @cached_property
    def _plan(self) -> Any:
        from components.preprocess.plan import PreprocessingPlan

        return PreprocessingPlan.model_validate_json((self.folder / "plan.json").read_text())

    @cached_property
    def _segmenter(self) -> Any:
        from components.segment.inference.segmenter import Segmenter

        return Segmenter.load(self.folder / "segmenter")

    @cached_property
    def _classifier(self) -> Any:
        from components.classify.inference.classifier import Classifier

        return Classifier.load(self.folder / "classifier")

    @cached_property
    def _release(self) -> Any:
        from components.release.inference.local_release import LocalRelease

        return LocalRelease(self.folder / "repository")

    def _prepare(self, row: dict[str, Any], plan: Any) -> Any:
        from components.cohort.manifest import Patient
        from components.preprocess.cohort import prepare_patient

        age = row.get("age")
        patient = Patient(
            patient_id=str(row["patient_id"]),
            site=str(row.get("site") or ""),
            t1c=row.get("t1c") or None,
            t2=row.get("t2") or None,
            flair=row.get("flair") or None,
            age=None if age is None or age != age else float(age),
        )
        return prepare_patient(patient, plan)

    def _segment(self, row: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        case, model = self._prepare(row, self._plan), self._segmenter
        volumes = np.stack([case.volume(sequence) for sequence in model.inputs])
        probability = model.probability(volumes, case.brain)
        mask = model.rule.mask(probability, case.grid, case.working)
        return {
            "patient_id": case.patient_id,
            "tumor_volume_ml": float(mask.sum()) * case.working.voxel_ml,
            "trained_on": self.config["trained_on"],
        }

    def _classify(self, row: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from components.core.vocabulary import FEATURE_NAMES

        images = np.load(row["images"], allow_pickle=False)
        features = np.array([[float(row[name]) for name in FEATURE_NAMES]])
        found = self._classifier.predict(images[None], features)
        return {
            "probability_idh_mutant": float(found.probability[0]),
            "uncertainty": float(found.uncertainty[0]),
            "ood": float(found.ood[0]),
            "trained_on": self.config["trained_on"],
        }

    def _diagnose(self, row: dict[str, Any]) -> dict[str, Any]:
        from components.release.inference.request import request_tensors

        contents = self._release.contents()
        case = self._prepare(row, contents.plan)
        answer = self._release.ask(request_tensors(case, contents))
        found = {
            "probability_idh_mutant": answer.probability,
            "uncertainty": answer.uncertainty,
            "ood": answer.ood,
        }
        return {
            "patient_id": case.patient_id,
            "status": answer.status.value,
            **(found if answer.slices else {"probability_idh_mutant": None}),
            "tumor_volume_ml": answer.tumor_ml,
            "release": answer.release,
            "trained_on": self.config["trained_on"],
            "warnings": "; ".join((*case.warnings, *answer.warnings)),
        }
