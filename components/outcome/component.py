"""KFP step: the exit handler, which says how the run ended."""

from kfp.dsl import Markdown, Output, PipelineTaskFinalStatus

from components.images import component


@component
def report_outcome_op(
    run_id: str,
    run_name: str,
    profile: str,
    api: str,
    status: PipelineTaskFinalStatus,
    outcome: Output[Markdown],
) -> None:
    """Write outcome.md and outcome.json, and tell a webhook; see components.outcome.outcome.

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

    from components.outcome.outcome import WEBHOOK, Outcome, failed_steps, tell, write

    ended = Outcome(
        run_id=run_id,
        run_name=run_name,
        profile=profile,
        state=status.state,
        message=status.error_message,
        failed=failed_steps(api, run_id),
    )
    outcome.metadata.update(write(ended, Path(outcome.path)))
    tell(ended, os.environ.get(WEBHOOK, ""))
