"""KFP step: have the patients, or the answers, drifted from the reference?"""

from kfp.dsl import HTML, Output

from components.images import component


@component
def judge_drift_op(reference: str, current: str, report: Output[HTML]) -> bool:
    """Whether anything drifted; see components.drift.report.judge_drift.

    Args:
        reference, current: audit logs: s3://bucket/key.jsonl, or a path.
        report: drift.html.
    """
    import shutil
    import tempfile
    from pathlib import Path

    from components.cohort.remote import local_copy
    from components.drift.report import HTML_FILE, judge_drift

    with tempfile.TemporaryDirectory() as folder:
        drift = judge_drift(local_copy(reference), local_copy(current), folder)
        shutil.copyfile(Path(folder) / HTML_FILE, report.path)
    return drift.drifted
