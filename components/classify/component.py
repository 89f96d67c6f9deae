"""KFP step: train the classifier and its comparators, and let each answer for every patient."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.core.kfp import gpu_component


@gpu_component
def train_classifiers_op(
    settings: str,
    code_version: str,
    samples: Input[Dataset],
    classifier: Output[Model],
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    checkpoints: str = "",
) -> list[str]:
    """Train the classifiers; see components.classify.training.train.train_classifiers.

    Args:
        settings: ClassifySettings as JSON.
        code_version: part of the cache key, so that changed code trains again.
        samples: folder of the feature step.
        classifier: the model folder.
        predictions: every model's answer for every patient, CSV.
        metrics: held-out AUROC of each model.
        checkpoints: folder on a persistent volume from which a restarted pod continues; empty takes
            the environment's GLIOFLOW_CHECKPOINTS, or the model folder.
    """
    import os
    from pathlib import Path

    from components.classify.settings import ClassifySettings
    from components.classify.training.outputs import evaluation_sets, write_classifier_outputs
    from components.classify.training.train import train_classifiers
    from components.core.progress import reporter, seconds

    kept = checkpoints or os.environ.get("GLIOFLOW_CHECKPOINTS", "")
    train_classifiers(
        Path(samples.path),
        ClassifySettings.model_validate_json(settings),
        Path(classifier.path),
        checkpoints=Path(kept) if kept else None,
        progress=reporter("classify"),
    )
    numbers = write_classifier_outputs(
        Path(classifier.path), Path(predictions.path), Path(metrics.path)
    )
    for name, value in numbers.items():
        metrics.log_metric(name, value)
    classifier.metadata.update(code_version=code_version, seconds=seconds())
    return evaluation_sets(Path(predictions.path))
