"""The pipeline: what runs after what, with which settings, on which kind of node.

The same definition is run on one machine by KFP's local runner and compiled for Kubeflow. KFP reads
the annotations as objects, so they are not postponed here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Model

from components.classify.component import train_classifiers_op
from components.cohort.component import make_cohorts_op
from components.evaluate.component import evaluate_op, evaluate_set_op
from components.features.component import extract_features_op
from components.preprocess.component import preprocess_op
from components.registry.component import publish_op
from components.segment.component import train_segmenter_op
from components.validate.component import measure_images_op, validate_op
from pipelines.kubeflow.placement import attach, place
from pipelines.profile import Profile
from serving.component import export_op

NAME = "glioflow"

COMPONENTS = (
    make_cohorts_op,
    measure_images_op,
    validate_op,
    preprocess_op,
    train_segmenter_op,
    extract_features_op,
    train_classifiers_op,
    evaluate_set_op,
    evaluate_op,
    export_op,
    publish_op,
)
"""The steps, in the order in which they run."""


class Outputs(NamedTuple):
    """Artifacts a run leaves for people."""

    validated: Dataset
    segmenter: Model
    samples: Dataset
    classifier: Model
    predictions: Dataset
    evaluation: Dataset
    report: HTML
    repository: Model
    published: Dataset


def build(profile: Profile, *, on_cluster: bool = False) -> Callable[..., Any]:
    """The pipeline of one profile: a KFP graph, its parameters defaulting to the settings.

    Args:
        on_cluster: give the steps the cluster's secret and volumes.
    """
    cluster = profile.cluster
    shards = [{"shard": f"{index}/{cluster.shards}"} for index in range(cluster.shards)]

    @dsl.pipeline(name=NAME, description=profile.description)
    def glioflow(
        cohorts: str = "[]",
        code_version: str = "",
        run_info: str = "{}",
        tracking_uri: str = "",
        profile_name: str = profile.name,
        cohort_settings: str = profile.cohort.model_dump_json(),
        validate_settings: str = profile.admission.model_dump_json(),
        preprocess_settings: str = profile.preprocess.model_dump_json(),
        segment_settings: str = profile.segment.model_dump_json(),
        feature_settings: str = profile.features.model_dump_json(),
        classify_settings: str = profile.classify.model_dump_json(),
        evaluate_settings: str = profile.evaluate.model_dump_json(),
        publish_settings: str = profile.publish.model_dump_json(),
        serving_settings: str = profile.serving.model_dump_json(),
    ) -> Outputs:
        """Train, judge and publish one release from the given cohorts (or phantoms)."""
        made = make_cohorts_op(settings=cohort_settings, cohorts=cohorts, code_version=code_version)
        with dsl.ParallelFor(shards, name="image-shards") as item:
            measured = measure_images_op(
                shard=item.shard,
                settings=validate_settings,
                code_version=code_version,
                cohorts=made.outputs["cohorts_out"],
            )
        validated = validate_op(
            settings=validate_settings,
            code_version=code_version,
            cohorts=made.outputs["cohorts_out"],
            facts=dsl.Collected(measured.outputs["facts"]),
        )
        with dsl.ParallelFor(shards, name="preprocess-shards") as item:
            prepared = preprocess_op(
                shard=item.shard,
                settings=preprocess_settings,
                code_version=code_version,
                validated=validated.outputs["validated"],
            )
        segmenter = train_segmenter_op(
            settings=segment_settings,
            code_version=code_version,
            prepared=dsl.Collected(prepared.outputs["prepared"]),
        )
        samples = extract_features_op(
            settings=feature_settings,
            code_version=code_version,
            prepared=dsl.Collected(prepared.outputs["prepared"]),
            segmenter=segmenter.outputs["segmenter"],
        )
        classifier = train_classifiers_op(
            settings=classify_settings,
            code_version=code_version,
            samples=samples.outputs["samples"],
        )
        judging = {
            "settings": evaluate_settings,
            "code_version": code_version,
            "predictions": classifier.outputs["predictions"],
            "samples": samples.outputs["samples"],
            "classifier": classifier.outputs["classifier"],
            "validated": validated.outputs["validated"],
        }
        with dsl.ParallelFor(classifier.outputs["Output"], name="test-sets") as test_set:
            judged = evaluate_set_op(test_set=test_set, **judging)
        evaluation = evaluate_op(judged=dsl.Collected(judged.outputs["judged"]), **judging)
        repository = export_op(
            settings=serving_settings,
            profile=profile_name,
            plan_settings=preprocess_settings,
            code_version=code_version,
            prepared=dsl.Collected(prepared.outputs["prepared"]),
            segmenter=segmenter.outputs["segmenter"],
            classifier=classifier.outputs["classifier"],
        )
        published = publish_op(
            settings=publish_settings,
            code_version=code_version,
            run_info=run_info,
            tracking_uri=tracking_uri,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            # A pod's disk goes with it. There the step fails: the run is not called a success, and
            # the next one reuses what the artifact store holds of it.
            keeps=not on_cluster,
            validated=validated.outputs["validated"],
            segmenter=segmenter.outputs["segmenter"],
            samples=samples.outputs["samples"],
            classifier=classifier.outputs["classifier"],
            predictions=classifier.outputs["predictions"],
            evaluation=evaluation.outputs["evaluation"],
            repository=repository.outputs["repository"],
        )
        # What is published depends on the registry's state, which no cache key holds.
        published.set_caching_options(False)
        for step, task in (
            ("cohort", made),
            ("validate", measured),
            ("validate", validated),
            ("preprocess", prepared),
            ("segment", segmenter),
            ("features", samples),
            ("classify", classifier),
            ("evaluate", judged),
            ("evaluate", evaluation),
            ("export", repository),
            ("publish", published),
        ):
            place(task, step, cluster)
            if on_cluster:
                attach(task, step, cluster)
        measured.set_display_name("measure-images")
        judged.set_display_name("evaluate-set")
        return Outputs(
            validated=validated.outputs["validated"],
            segmenter=segmenter.outputs["segmenter"],
            samples=samples.outputs["samples"],
            classifier=classifier.outputs["classifier"],
            predictions=classifier.outputs["predictions"],
            evaluation=evaluation.outputs["evaluation"],
            report=evaluation.outputs["report"],
            repository=repository.outputs["repository"],
            published=published.outputs["published"],
        )

    return glioflow
