"""KFP steps: measure the images in shards, judge the cohorts, split the development cohort."""

from typing import List  # noqa: UP035  (KFP reads this annotation)

from kfp.dsl import HTML, Dataset, Input, Output

from components.core.kfp import component


@component
def measure_images_op(
    shard: str,
    settings: str,
    code_version: str,
    cohorts: Input[Dataset],
    facts: Output[Dataset],
) -> None:
    """Measure the images of every n-th patient; see components.validate.image_facts.measure_shard.

    Args:
        shard: "i/n": the patients of all cohorts whose 0-based number leaves i when divided by n.
        settings: ValidateSettings as JSON.
        code_version: part of the cache key, so that changed code runs again.
        cohorts: folder with cohorts.json (name -> manifest, absolute, s3:// or relative to it).
        facts: facts.json, what was measured of each image.
    """
    from pathlib import Path

    from components.core.progress import reporter, seconds
    from components.validate.image_facts import measure_shard, named_manifests
    from components.validate.settings import ValidateSettings

    measure_shard(
        named_manifests(Path(cohorts.path)),
        shard,
        ValidateSettings.model_validate_json(settings),
        Path(facts.path),
        reporter("validate"),
    )
    facts.metadata.update(code_version=code_version, seconds=seconds())


@component
def validate_op(
    settings: str,
    code_version: str,
    cohorts: Input[Dataset],
    facts: Input[List[Dataset]],  # noqa: UP006
    validated: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Validate; see components.validate.validate.validate_cohorts.

    Args:
        settings: ValidateSettings as JSON.
        code_version: part of the cache key, so that changed code runs again.
        cohorts: folder with cohorts.json (name -> manifest, absolute, s3:// or relative to it).
        facts: what was measured of the images, one a shard.
        validated: accepted.csv, images.csv, quarantine.csv, validation.json, validation.html.
        report: validation.html, for the KFP UI.
    """
    import shutil
    from pathlib import Path

    from components.core.progress import seconds
    from components.validate.image_facts import named_manifests
    from components.validate.settings import ValidateSettings
    from components.validate.validate import validate_cohorts

    out = Path(validated.path)
    result = validate_cohorts(
        named_manifests(Path(cohorts.path)),
        ValidateSettings.model_validate_json(settings),
        out,
        shards=[Path(shard.path) for shard in facts],
    )
    shutil.copyfile(out / "validation.html", report.path)
    validated.metadata.update(
        code_version=code_version,
        seconds=seconds() + sum(shard.metadata.get("seconds", 0.0) for shard in facts),
        accepted=result.report["accepted"],
        quarantined=result.report["quarantined"],
    )
