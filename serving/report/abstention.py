"""What is written of a patient whose preparation is implausible: an abstention, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.core.errors import Implausible
from components.core.files import replacing, write_json
from components.release.manifest import Contents
from components.release.prediction import Prediction, Reason
from serving.report.files import FILES, PREDICTION_FILE, with_report
from serving.report.result import describe_unprepared


def write_abstention(
    out: Path,
    patient_id: str,
    release: str,
    contents: Contents,
    error: Implausible,
    files: Mapping[str, str],
    *,
    series: Path | None = None,
) -> Prediction:
    """Write prediction.json with status "abstain", and remove what an earlier prediction left.

    Where the T1C was DICOM, a report and a captured slice say the same.

    Args:
        release: id of the release that abstains.
        files: see components.preprocess.sequences.input_digests.
        series: the T1C, where it is DICOM.

    Returns:
        What prediction.json holds. `reason` names the check that failed, in a word for machines
        and in a sentence.
    """
    reason = Reason(check=error.check, sentence=error.problem)
    prediction = describe_unprepared(patient_id, reason, release, contents, files)
    with replacing(out, FILES) as folder:
        if series is not None:
            prediction = with_report(folder, prediction, series, None)
        write_json(folder / PREDICTION_FILE, prediction.content())
    return prediction
