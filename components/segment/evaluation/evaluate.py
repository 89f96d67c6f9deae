"""A trained segmenter measured on prepared cases with manual masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.cohort.prepared import PreparedCase, read_cases
from components.core.errors import BadInput
from components.core.files import write_json
from components.core.progress import Progress, silent
from components.core.tables import write_records
from components.segment.evaluation.metrics import Agreement, Summary
from components.segment.inference.segmenter import Segmenter


@dataclass(frozen=True)
class Measured:
    """One row of segmentation.csv.

    `member` is the member that predicted alone because it had not seen the patient (out-of-fold);
    empty when all members predicted. `seen` tells a case the model was trained on: such rows are
    left out of every summary.
    """

    patient_id: str
    cohort: str
    site: str
    member: int | None
    seen: bool
    dice: float
    hd95_mm: float | None
    predicted_ml: float
    true_ml: float
    volume_error_ml: float
    confidence: float


def measure(segmenter: Segmenter, case: PreparedCase, seen: set[str]) -> Measured:
    """Segment one prepared case and compare it with its manual mask on the working grid."""
    truth = case.tumor_working
    assert truth is not None
    probability = segmenter.case_probability(case)
    mask = segmenter.rule.mask(probability, case.grid, case.working)
    member = segmenter.member_for(case)
    found = Agreement.of(mask, truth, case.working)
    return Measured(
        patient_id=case.patient_id,
        cohort=case.subset,
        site=case.site,
        member=member,
        seen=member is None and case.patient_id in seen,
        **asdict(found),
        volume_error_ml=found.predicted_ml - found.true_ml,
        confidence=segmenter.rule.confidence(probability),
    )


def evaluate_segmenter(
    model: Path | str,
    prepared: Path | str | Iterable[Path | str],
    out: Path | None = None,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Dice table of a trained segmenter over prepared sets; what `evaluate-segmentation` runs.

    Args:
        model: folder as `train_segmenter` writes it.
        prepared: one prepared set, or several; cases without a manual mask are skipped.
        out: folder for segmentation.csv (one row a patient) and segmentation.json; None writes
            nothing.
        progress: called with (cases done, cases in all, patient).

    Returns:
        {"trained_on", "threshold", "sets": {cohort: {"patients", "dice": {mean, sd, median,
        worst}, "confidence_spearman"}}, "patients": [rows]}.

    Raises:
        BadInput: no case with a mask; see also `Segmenter.load`, `Segmenter.case_probability`.
    """
    segmenter = Segmenter.load(model)
    folders = [prepared] if isinstance(prepared, Path | str) else list(prepared)
    cases = [case for case in read_cases(folders) if case.tumor_working is not None]
    if not cases:
        raise BadInput(
            ", ".join(str(folder) for folder in folders) or "prepared cases",
            "no case has a manual mask to compare with",
            "give tumor_mask in the manifest and prepare it again",
        )
    members = segmenter.description["members"]
    seen = {patient for member in members for patient in member["training_patients"]}
    rows = []
    for index, case in enumerate(cases):
        rows.append(measure(segmenter, case, seen))
        progress(index + 1, len(cases), case.patient_id)
    report: dict[str, Any] = {
        "trained_on": segmenter.trained_on.value,
        "threshold": segmenter.rule.threshold,
        "sets": {name: _summarise(rows, name) for name in sorted({row.cohort for row in rows})},
        "patients": [asdict(row) for row in rows],
    }
    if out is not None:
        write_records(out / "segmentation.csv", Measured, report["patients"])
        write_json(out / "segmentation.json", report)
    return report


def _summarise(rows: list[Measured], cohort: str) -> dict[str, Any]:
    fair = [row for row in rows if row.cohort == cohort and not row.seen]
    summary = asdict(Summary.of([row.dice for row in fair]))
    return {
        "patients": summary.pop("patients"),
        "dice": summary,
        "confidence_spearman": _spearman(
            [row.confidence for row in fair], [row.dice for row in fair]
        ),
    }


def _spearman(a: list[float], b: list[float]) -> float | None:
    from scipy.stats import spearmanr

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)
