"""KFP step: export the trained models as a release that Triton serves."""

from typing import List  # noqa: UP035  (KFP reads this annotation)

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.core.kfp import component


@component
def export_op(
    settings: str,
    profile: str,
    plan_settings: str,
    code_version: str,
    prepared: Input[List[Dataset]],  # noqa: UP006
    segmenter: Input[Model],
    classifier: Input[Model],
    repository: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Write a Triton repository with release.json; see serving.export.export_release.

    Args:
        settings: ServingSettings as JSON.
        profile: name of the profile.
        plan_settings: PreprocessSettings as JSON, from which the plan is made again.
        code_version: part of the cache key, so that changed code runs again.
        prepared: prepared sets, one a shard; exported networks are compared on a few cases.
        segmenter: model folder of the segmenter.
        classifier: model folder of the classifier.
        repository: the release.
        metrics: differences between exported and trained networks.
    """
    from pathlib import Path

    from components.core.files import write_json
    from components.core.progress import reporter, seconds
    from components.preprocess.plan import make_plan
    from components.preprocess.settings import PreprocessSettings
    from components.release.settings import ServingSettings
    from serving.export import export_release
    from serving.parity import compared_cases

    report = reporter("export")
    report(0, 1, "networks")
    release = export_release(
        Path(segmenter.path),
        Path(classifier.path),
        make_plan(PreprocessSettings.model_validate_json(plan_settings)),
        Path(repository.path),
        profile=profile,
        settings=ServingSettings.model_validate_json(settings),
        cases=compared_cases([Path(part.path) for part in prepared]),
    )
    # KFP reuses a step only when every artifact has a file.
    write_json(Path(metrics.path), release.manifest.parity)
    for network, difference in release.manifest.parity.items():
        metrics.log_metric(f"parity_{network}", difference)
    repository.metadata["release"] = release.release
    repository.metadata.update(code_version=code_version, seconds=seconds())
    report(1, 1, release.release)
