"""KFP step: judge the cohorts, quarantine what cannot be used, split the development cohort."""

from kfp.dsl import HTML, Dataset, Input, Output

from components.core.kfp import component


@component
def validate_op(
    settings: str,
    code_version: str,
    cohorts: Input[Dataset],
    validated: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Validate; see components.validate.validate.validate_cohorts.

    Args:
        settings: ValidateSettings as JSON.
        code_version: part of the cache key, so that changed code runs again.
        cohorts: folder with cohorts.json (name -> manifest, absolute, s3:// or relative to it).
        validated: accepted.csv, quarantine.csv, validation.json, validation.html.
        report: validation.html, for the KFP UI.
    """
    import shutil
    from pathlib import Path

    from components.core.files import read_json
    from components.core.progress import reporter, seconds
    from components.validate.settings import ValidateSettings
    from components.validate.validate import validate_cohorts

    folder = Path(cohorts.path)
    named = read_json(folder / "cohorts.json")
    manifests = {k: v if v.startswith("s3://") else folder / v for k, v in named.items()}
    out = Path(validated.path)
    result = validate_cohorts(
        manifests, ValidateSettings.model_validate_json(settings), out, reporter("validate")
    )
    shutil.copyfile(out / "validation.html", report.path)
    validated.metadata.update(
        code_version=code_version,
        seconds=seconds(),
        accepted=result.report["accepted"],
        quarantined=result.report["quarantined"],
    )
