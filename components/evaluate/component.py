"""KFP steps: evaluate every model on one test set, then join the sets into one report."""

from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.core.kfp import component


@component
def evaluate_set_op(
    settings: str,
    code_version: str,
    test_set: str,
    predictions: Input[Dataset],
    samples: Input[Dataset],
    classifier: Input[Model],
    validated: Input[Dataset],
    judged: Output[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
) -> None:
    """Evaluate one test set; see components.evaluate.steps.evaluate_set_step.

    Args:
        settings: EvaluateSettings as JSON.
        code_version: part of the cache key, so that changed code evaluates again.
        test_set: name of the set.
        predictions: predictions.csv of the classifier.
        samples: folder with features.csv and images.
        classifier: model folder of the classifier.
        validated: folder with accepted.csv.
        judged: evaluation of this set, for `evaluate_op` to join.
        report: report of this set, shown by KFP.
        metrics: the hybrid's headline figures.
        roc: the hybrid's ROC curve and confusion matrix.
    """
    from pathlib import Path

    from components.core.progress import reporter
    from components.evaluate.settings import EvaluateSettings
    from components.evaluate.steps import StepInputs, StepViews, evaluate_set_step

    inputs = (predictions.path, samples.path, classifier.path, validated.path)
    shown = evaluate_set_step(
        StepInputs(*map(Path, inputs)),
        test_set,
        EvaluateSettings.model_validate_json(settings),
        Path(judged.path),
        StepViews(Path(report.path), Path(metrics.path), Path(roc.path)),
        progress=reporter("evaluate"),
    )
    shown.log(metrics, roc)
    judged.metadata.update(code_version=code_version, test_set=test_set)


@component
def evaluate_op(
    settings: str,
    code_version: str,
    predictions: Input[Dataset],
    samples: Input[Dataset],
    classifier: Input[Model],
    validated: Input[Dataset],
    judged: Input[list[Dataset]],
    evaluation: Output[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
) -> None:
    """Join the evaluations of all test sets; see components.evaluate.steps.evaluate_step.

    Args:
        settings: EvaluateSettings as JSON.
        code_version: part of the cache key, so that changed code evaluates again.
        predictions: predictions.csv of the classifier.
        samples: folder with features.csv and images.
        classifier: model folder of the classifier.
        validated: folder with accepted.csv.
        judged: what `evaluate_set_op` said of each set.
        evaluation: folder with evaluation.json, report.html, model_card.md and figures.
        report: the report of all sets, shown by KFP.
        metrics: the hybrid's headline figures by set.
        roc: the hybrid's ROC curve and confusion matrix on the first external set.
    """
    from pathlib import Path

    from components.core.progress import reporter, seconds
    from components.evaluate.settings import EvaluateSettings
    from components.evaluate.steps import StepInputs, StepViews, evaluate_step

    inputs = (predictions.path, samples.path, classifier.path, validated.path)
    shown = evaluate_step(
        StepInputs(*map(Path, inputs)),
        [Path(one.path) for one in judged],
        EvaluateSettings.model_validate_json(settings),
        Path(evaluation.path),
        StepViews(Path(report.path), Path(metrics.path), Path(roc.path)),
        progress=reporter("evaluate"),
    )
    shown.log(metrics, roc)
    evaluation.metadata.update(code_version=code_version, seconds=seconds())
