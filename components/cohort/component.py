"""KFP step: the cohorts of a run, given as manifests or made as phantoms."""

from kfp.dsl import Dataset, Output

from components.core.kfp import component


@component
def make_cohorts_op(
    settings: str, cohorts: str, code_version: str, cohorts_out: Output[Dataset]
) -> None:
    """Write cohorts.json (name -> manifest): the given ones, or phantoms where none is given."""
    import json
    from pathlib import Path

    from components.cohort.phantom.dataset import make_cohorts
    from components.cohort.phantom.settings import PhantomSettings
    from components.core.files import write_json
    from components.core.progress import reporter

    out = Path(cohorts_out.path)
    progress = reporter("cohort")
    given = json.loads(cohorts)
    if given:
        write_json(out / "cohorts.json", {entry["name"]: entry["manifest"] for entry in given})
        progress(len(given), len(given), "manifests")
    else:
        make_cohorts(PhantomSettings.model_validate_json(settings), out, progress)
