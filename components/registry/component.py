"""Pipeline step: log, judge and register one run in MLflow."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.core.kfp import component


@component
def publish_op(
    settings: str,
    code_version: str,
    run_info: str,
    tracking_uri: str,
    run_id: str,
    validated: Input[Dataset],
    segmenter: Input[Model],
    samples: Input[Dataset],
    classifier: Input[Model],
    predictions: Input[Dataset],
    evaluation: Input[Dataset],
    repository: Input[Model],
    published: Output[Dataset],
    metrics: Output[Metrics],
    keeps: bool = False,
) -> None:
    """Write published.json: {"mlflow_run_id", "release", "gate", "registered", "promotion"}.

    Args:
        settings: PublishSettings as JSON.
        code_version: digest of the code; part of the cache key, and of the lineage.
        run_info: RunInfo as JSON.
        tracking_uri: MLflow store; empty: that of the settings.
        run_id: of the pipeline run.
        keeps: keep a run that the store does not take on disk, where there is one that stays;
            otherwise the step fails.
    """
    from pathlib import Path

    from components.core.progress import reporter
    from components.registry.pending import publish_or_keep
    from components.registry.run_artifacts import RunArtifacts, RunInfo
    from components.registry.settings import PublishSettings

    info = RunInfo.model_validate_json(run_info)
    steps = {
        "validate": validated,
        "segment": segmenter,
        "features": samples,
        "classify": classifier,
        "evaluate": evaluation,
        "export": repository,
    }
    took = {name: item.metadata.get("seconds") for name, item in steps.items()}
    took["preprocess"] = samples.metadata.get("preprocess_seconds")
    wanted = PublishSettings.model_validate_json(settings)
    artifacts = RunArtifacts(
        validated=Path(validated.path),
        segmenter=Path(segmenter.path),
        samples=Path(samples.path),
        classifier=Path(classifier.path),
        predictions=Path(predictions.path),
        evaluation=Path(evaluation.path),
        repository=Path(repository.path),
        code_version=code_version,
        info=info.model_copy(
            update={
                "kfp_run_id": info.kfp_run_id or run_id,
                "durations_s": {k: float(v) for k, v in took.items() if v is not None},
            }
        ),
    )
    done = publish_or_keep(
        artifacts,
        wanted.model_copy(update={"tracking_uri": tracking_uri or wanted.tracking_uri}),
        Path(published.path),
        keeps=keeps,
        progress=reporter("publish"),
    )
    metrics.log_metric("gate_passed", float(done.gate.passed))
    metrics.log_metric("rules_refused", float(sum(not rule.passed for rule in done.gate.rules)))
