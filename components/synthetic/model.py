"""The segmenter that comes with the package: trained on synthetic patients alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.vocabulary import Sequence
from components.preprocess.plan import PreprocessingPlan, read_plan
from components.segment.inference.segmenter import Segmenter

SHIPPED = Path(__file__).parent / "weights"
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class SyntheticSegmenter:
    """A segmenter with the plan by which images are prepared for it.

    Attributes:
        segmenter: the network.
        plan: of all sequences it can take; each is prepared by itself.
    """

    segmenter: Segmenter
    plan: PreprocessingPlan

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> SyntheticSegmenter:
        """Read a model folder as `train_on_synthetic` writes it; the shipped one by default.

        Raises BadInput: the folder holds none, or it is not whole.
        """
        segmenter, plan = Segmenter.load(folder), read_plan(folder / PLAN_FILE)
        if segmenter.plan_digest != plan.digest():
            raise BadInput(
                folder / PLAN_FILE, "not the plan of this segmenter", "fetch the folder again"
            )
        return cls(segmenter, plan)

    @property
    def identity(self) -> str:
        """Name of these weights: the beginning of their sha256."""
        return f"synthetic-{self.segmenter.description['members'][0]['sha256'][:12]}"

    def plan_for(self, sequences: tuple[Sequence, ...]) -> PreprocessingPlan:
        """The plan for a patient who has these sequences alone."""
        return self.plan.model_copy(update={"sequences": sequences})

    def probability(self, case: PreparedCase, shown: dict[Sequence, Sequence]) -> np.ndarray:
        """Tumour probability, float32 [z, y, x] on the case's network grid.

        Args:
            case: prepared by `plan_for`.
            shown: for each sequence that the patient has, under which name the case holds it.
        """
        absent = np.zeros(case.grid.shape, np.float32)
        volumes = [
            case.volume(shown[sequence]) if sequence in shown else absent
            for sequence in self.segmenter.inputs
        ]
        return self.segmenter.probability(np.stack(volumes), case.brain)
