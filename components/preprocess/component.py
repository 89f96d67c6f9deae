"""KFP step: one shard of the accepted patients, prepared for the networks."""

from kfp.dsl import HTML, Dataset, Input, Output

from components.core.kfp import component


@component
def preprocess_op(
    shard: str,
    settings: str,
    code_version: str,
    validated: Input[Dataset],
    prepared: Output[Dataset],
    quality: Output[HTML],
) -> None:
    """Prepare every n-th accepted patient; see components.preprocess.cohort.prepare_cohort.

    Args:
        shard: "i/n": the rows of accepted.csv whose 0-based number leaves i when divided by n.
        settings: PreprocessSettings as JSON.
        code_version: part of the cache key, so that changed code prepares again.
        validated: folder with accepted.csv.
        prepared: the prepared set, with plan.json and failed.csv.
        quality: page with every case's mosaic and numbers.
    """
    from pathlib import Path

    from components.core.progress import reporter, seconds
    from components.preprocess.cohort import prepare_shard
    from components.preprocess.quality.report import write_quality_page
    from components.preprocess.settings import PreprocessSettings

    out = Path(prepared.path)
    prepare_shard(
        Path(validated.path) / "accepted.csv",
        shard,
        PreprocessSettings.model_validate_json(settings),
        out,
        progress=reporter("preprocess"),
    )
    write_quality_page(out, Path(quality.path))
    prepared.metadata.update(code_version=code_version, seconds=seconds())
