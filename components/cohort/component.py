"""KFP step: the cohorts of a run, given as manifests or made as phantoms."""

from kfp.dsl import Dataset, Output

from components.images import component


@component
def make_cohorts_op(
    settings: str, cohorts: str, code_version: str, cohorts_out: Output[Dataset]
) -> None:
    """Write cohorts.json (name -> manifest): the given ones, or phantoms where none is given."""
    import json
    from pathlib import Path

    from components.cohort.files import write_json
    from components.cohort.phantom.cohort import make_cohorts
    from components.cohort.phantom.settings import PhantomSettings
    from components.progress import reporter

    out = Path(cohorts_out.path)
    progress = reporter("cohort")
    given = json.loads(cohorts)
    if given:
        write_json(out / "cohorts.json", {entry["name"]: entry["manifest"] for entry in given})
        progress(len(given), len(given), "manifests")
    else:
        make_cohorts(PhantomSettings.model_validate_json(settings), out, progress)
