"""The pipeline as Kubeflow runs it: checked, in an exit handler and, if wished, only on new data.

The graph inside is the one that runs on one machine (pipelines.pipeline). KFP reads the annotations
as objects, so they are not postponed here.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.monitor.component import (
    find_new_cohorts_op,
    judge_drift_op,
    remember_cohorts_op,
    report_outcome_op,
)
from pipelines.kubeflow.component import check_op
from pipelines.kubeflow.placement import CHECK, attach, place
from pipelines.pipeline import NAME, build
from pipelines.profile import Cluster, Profile


def build_guarded(
    profile: Profile, *, only_new: bool = False, on_drift: bool = False
) -> Callable[..., Any]:
    """The whole pipeline as one task of another, whose last task says how the run ended.

    Args:
        only_new: begin with a look at the manifests, and end there when parameter `seen` (address
            of a JSON record) shows that this profile was run on them before.
        on_drift: begin with a comparison of two audit logs (parameters `reference` and `answers`),
            and end after its report when nothing drifted.
    """
    graph = build(profile, on_cluster=True)
    cluster = profile.cluster

    def inner(*, cohorts: Any, **parameters: Any) -> Any:
        checked = check_op(profile=profile.model_dump_json(), cohorts=cohorts)
        _prepared(checked, CHECK, cluster)
        return graph(cohorts=checked.output, **parameters)

    def outcome() -> Any:
        task = report_outcome_op(
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            profile=profile.name,
            api=cluster.api,
        )
        return _prepared(task, "outcome", cluster)

    @dsl.pipeline(name=NAME, description=profile.description)
    def always(
        cohorts: str = "[]", code_version: str = "", run_info: str = "{}", tracking_uri: str = ""
    ) -> None:
        with dsl.ExitHandler(outcome(), name="run"):
            inner(
                cohorts=cohorts,
                code_version=code_version,
                run_info=run_info,
                tracking_uri=tracking_uri,
            )

    @dsl.pipeline(name=NAME, description=profile.description)
    def on_new_data(
        cohorts: str = "[]",
        code_version: str = "",
        run_info: str = "{}",
        tracking_uri: str = "",
        seen: str = "",
    ) -> None:
        with dsl.ExitHandler(outcome(), name="run"):
            found = find_new_cohorts_op(cohorts=cohorts, profile=profile.name, seen=seen)
            _prepared(found, "trigger", cluster)
            with dsl.If(found.outputs["is_new"] == True, name="new-data"):  # noqa: E712
                trained = inner(
                    cohorts=cohorts,
                    code_version=code_version,
                    run_info=run_info,
                    tracking_uri=tracking_uri,
                )
                kept = remember_cohorts_op(
                    digests=found.outputs["digests"], profile=profile.name, seen=seen
                ).after(trained)
                _prepared(kept, "trigger", cluster)

    @dsl.pipeline(name=NAME, description=profile.description)
    def after_drift(
        cohorts: str = "[]",
        code_version: str = "",
        run_info: str = "{}",
        tracking_uri: str = "",
        reference: str = "",
        answers: str = "",
    ) -> None:
        with dsl.ExitHandler(outcome(), name="run"):
            judged = judge_drift_op(reference=reference, current=answers)
            _prepared(judged, "drift", cluster)
            with dsl.If(judged.outputs["Output"] == True, name="drifted"):  # noqa: E712
                inner(
                    cohorts=cohorts,
                    code_version=code_version,
                    run_info=run_info,
                    tracking_uri=tracking_uri,
                )

    if on_drift:
        return after_drift
    return on_new_data if only_new else always


def _prepared(task: dsl.PipelineTask, step: str, cluster: Cluster) -> dsl.PipelineTask:
    """The task, placed; never cached, since it asks or changes what lies outside the run."""
    place(task, step, cluster)
    attach(task, step, cluster)
    return task.set_caching_options(False)
