"""KFP step: judge every model on every test set."""

from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Output

from components.images import component


@component
def evaluate_op(
    settings: str,
    code_version: str,
    predictions: Input[Dataset],
    samples: Input[Dataset],
    evaluation: Output[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
) -> None:
    """Evaluate; see components.evaluate.evaluate.evaluate_predictions.

    Args:
        settings: EvaluateSettings as JSON.
        code_version: part of the cache key, so that changed code evaluates again.
        predictions: predictions.csv of the classifier.
        samples: folder with features.csv and images.
        evaluation: folder with evaluation.json, report.html, model_card.md and figures.
        report: the report, shown by KFP.
        metrics: the hybrid's headline figures by set.
        roc: the hybrid's ROC curve and confusion matrix on the first external set.
    """
    from pathlib import Path

    from components.evaluate.settings import EvaluateSettings
    from components.evaluate.step import evaluate_step
    from components.progress import reporter

    shown = evaluate_step(
        Path(predictions.path),
        Path(samples.path),
        EvaluateSettings.model_validate_json(settings),
        Path(evaluation.path),
        report=Path(report.path),
        metrics=Path(metrics.path),
        roc=Path(roc.path),
        progress=reporter("evaluate"),
    )
    for name, value in shown.metrics.items():
        metrics.log_metric(name, value)
    if shown.confusion:
        roc.log_confusion_matrix(["wildtype", "mutant"], shown.confusion)
        roc.log_roc_curve(shown.fpr, shown.tpr, shown.threshold)
    evaluation.metadata["code_version"] = code_version
