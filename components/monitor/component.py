"""KFP steps around a run: is there new data, did answers drift, how did the run end?"""

from typing import NamedTuple

from kfp.dsl import HTML, Markdown, Output, PipelineTaskFinalStatus

from components.core.kfp import component


@component
def judge_drift_op(reference: str, current: str, report: Output[HTML]) -> bool:
    """Whether anything drifted; see components.monitor.drift_report.judge_drift.

    Args:
        reference, current: audit logs: s3://bucket/key.jsonl, or a path.
        report: drift.html.
    """
    import shutil
    import tempfile
    from pathlib import Path

    from components.core.s3 import local_copy
    from components.monitor.drift_report import HTML_FILE, judge_drift

    with tempfile.TemporaryDirectory() as folder:
        drift = judge_drift(local_copy(reference), local_copy(current), folder)
        shutil.copyfile(Path(folder) / HTML_FILE, report.path)
    return drift.drifted


@component
def report_outcome_op(
    run_id: str,
    run_name: str,
    profile: str,
    api: str,
    status: PipelineTaskFinalStatus,
    outcome: Output[Markdown],
) -> None:
    """Write outcome.md and outcome.json, and tell a webhook; see components.monitor.outcome.

    Args:
        run_id: id of the run in KFP.
        run_name: its name.
        profile: name of the profile.
        api: address of the KFP API inside the cluster; empty: failed steps are not looked up.
        status: how the steps before ended, from KFP.
        outcome: the page; outcome.json lies beside it, and in the artifact's metadata.
    """
    import os
    from pathlib import Path

    from components.monitor.outcome import WEBHOOK, ended, tell, write

    done = ended(run_id, run_name, profile, api, status.state or "", status.error_message or "")
    outcome.metadata.update(write(done, Path(outcome.path)))
    tell(done, os.environ.get(WEBHOOK, ""))


@component
def find_new_cohorts_op(cohorts: str, profile: str, seen: str) -> NamedTuple(  # type: ignore[valid-type]
    "Found", [("is_new", bool), ("digests", str)]
):
    """Whether any manifest or image is unknown to the record at `seen`, and the cohorts' digests.

    Args:
        cohorts: JSON list of {name, manifest, ...}.
        profile: name of the profile; each has an entry of its own.
        seen: address of the record: s3://bucket/key.json, or a path.
    """
    import json
    from collections import namedtuple

    from components.monitor.new_data import cohort_digests, is_new

    found = cohort_digests(json.loads(cohorts))
    outputs = namedtuple("outputs", ["is_new", "digests"])
    return outputs(is_new(found, profile, seen), json.dumps(found, sort_keys=True))


@component
def remember_cohorts_op(digests: str, profile: str, seen: str) -> None:
    """Write the digests that the run began with into the record; only after it succeeded."""
    import json

    from components.monitor.new_data import remember

    remember(json.loads(digests), profile, seen)
