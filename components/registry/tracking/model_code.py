"""Source of the registered models, run by MLflow wherever a user loads one (models from code).

The one file of this room that reaches into other rooms: it is no part of publishing, but a script
that travels inside each model version, and needs nothing but the installed package to predict.

    model = mlflow.pyfunc.load_model("models:/glioma-idh@champion")
    model.predict(pandas.DataFrame([{"patient_id": ..., "t1c": ..., "t2": ..., "flair": ...,
                                     "age": 52.0}]))
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
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

    def _prepare(self, row: dict[str, Any]) -> Any:
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
        with tempfile.TemporaryDirectory() as cache:
            return prepare_patient(
                patient, self._plan, subset="prediction", fold=None, cache=Path(cache)
            )

    def _probability(self, case: Any) -> Any:
        import numpy as np

        volumes = np.stack([case.volume(sequence) for sequence in self._segmenter.inputs])
        return self._segmenter.probability(volumes, case.brain)

    def _segment(self, row: dict[str, Any]) -> dict[str, Any]:
        case = self._prepare(row)
        mask = self._segmenter.rule.mask(self._probability(case), case.grid, case.working)
        return {
            "patient_id": case.patient_id,
            "tumor_volume_ml": float(mask.sum()) * _voxel_ml(case.working),
            "trained_on": self.config["trained_on"],
        }

    def _classify(self, row: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from components.core.vocabulary import FEATURE_NAMES

        images = np.load(row["images"], allow_pickle=False)
        features = np.array([[float(row[name]) for name in FEATURE_NAMES]])
        return {**self._answer(images, features), "trained_on": self.config["trained_on"]}

    def _diagnose(self, row: dict[str, Any]) -> dict[str, Any]:
        from components.core.vocabulary import Status

        case = self._prepare(row)
        step = self._feature_step(case)
        answer = {
            "patient_id": case.patient_id,
            "status": step.status.value,
            "probability_idh_mutant": None,
            "tumor_volume_ml": float(step.tumor_ml),
            "release": self.config["release"],
            "trained_on": self.config["trained_on"],
            "warnings": "; ".join((*case.warnings, *step.warnings)),
        }
        if step.status is Status.OK:
            found = self._answer(step.images, step.features[None])
            status = self._classifier.status(found["uncertainty"], found["ood"])
            answer.update(found, status=status.value)
        return answer

    def _feature_step(self, case: Any) -> Any:
        from components.core.vocabulary import Sequence
        from components.features.feature_slice import StepSpec, feature_slice_step
        from components.preprocess.atlas.regions import atlas_of

        first, second = (Sequence(name) for name in self._classifier.channels)
        spec = StepSpec(
            rule=self._segmenter.rule,
            channels=(first, second),
            clip=self._plan.clip,
            atlas=atlas_of(self._plan.atlas_files),
        )
        return feature_slice_step(
            self._probability(case),
            {sequence: case.volume(sequence) for sequence in case.sequences},
            case.brain,
            case.grid,
            case.working,
            case.to_mni,
            case.age,
            spec,
        )

    def _answer(self, images: Any, features: Any) -> dict[str, Any]:
        found = self._classifier.predict(images[None], features)
        return {
            "probability_idh_mutant": float(found.probability[0]),
            "uncertainty": float(found.uncertainty[0]),
            "ood": float(found.ood[0]),
        }


def _voxel_ml(grid: Any) -> float:
    """Millilitres of one voxel of a grid with spacing in mm."""
    x, y, z = grid.spacing
    return x * y * z / 1000.0


mlflow.models.set_model(GliomaModel())
