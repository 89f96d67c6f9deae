"""Training of a segmenter that sees synthetic patients alone."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from components.core.device import choose_device
from components.core.errors import BadInput
from components.core.files import write_json
from components.core.progress import Progress, silent
from components.preprocess.plan import PreprocessingPlan
from components.segment.data.sampling import MemberCases
from components.segment.settings import SegmentSettings
from components.segment.training.member import MemberTraining
from components.segment.training.members import prepare_torch, train_member
from components.segment.training.processes import Process
from components.segment.training.train import CHECKPOINTS, write_segmenter
from components.synthetic.model import PLAN_FILE
from components.synthetic.patients import SyntheticSet, synthetic_case


def train_on_synthetic(
    settings: SegmentSettings,
    plan: PreprocessingPlan,
    out: Path,
    *,
    held_out: int = 24,
    progress: Progress = silent,
) -> None:
    """Train one segmenter on patients that are made while it trains; write the model to `out`.

    Resumes from its last checkpoint. The data are the seed and the code: the same settings and plan
    give the same weights on the same kind of machine.

    Args:
        plan: the preprocessing by which real patients will be brought before it.
        held_out: synthetic patients with a tumour, never trained on, that choose the threshold and
            the best weights.

    Raises:
        BadInput: sequences that the plan does not prepare.
    """
    missing = set(settings.inputs) - set(plan.sequences)
    if missing:
        raise BadInput(
            "segment.inputs", f"{', '.join(sorted(missing))} is not prepared", "add it to the plan"
        )
    prepare_torch(settings)
    made = (synthetic_case(i, plan, settings.inputs, settings.seed) for i in itertools.count())
    cases = list(itertools.islice((case for case in made if case.tumor.any()), held_out))  # type: ignore[union-attr]
    member = MemberCases(0, None, (), tuple(cases))
    process = Process(0, 1, choose_device(settings.device, "segment.device"))
    folder = out / CHECKPOINTS
    dataset = SyntheticSet(plan, settings)
    write_json(out / PLAN_FILE, plan.model_dump(mode="json"))
    training = MemberTraining(member, settings, process, folder, dataset)
    points = train_member(training, out, progress)
    write_segmenter(cases, [member], settings, out, points)
    shutil.rmtree(folder, ignore_errors=True)
