"""KFP step: segment every prepared case, take its slices and its 24 features."""

from typing import List  # noqa: UP035  (KFP reads this annotation)

from kfp.dsl import Dataset, Input, Model, Output

from components.core.kfp import gpu_component


@gpu_component
def extract_features_op(
    settings: str,
    code_version: str,
    prepared: Input[List[Dataset]],  # noqa: UP006
    segmenter: Input[Model],
    samples: Output[Dataset],
) -> None:
    """Make the samples of the classifier; see components.features.extract.extract_samples.

    Args:
        settings: FeatureSettings as JSON.
        code_version: part of the cache key, so that changed code runs again.
        prepared: prepared sets, one a shard.
        segmenter: folder of the trained segmenter.
        samples: features.csv, images and masks.
    """
    from pathlib import Path

    from components.core.progress import reporter, seconds
    from components.features.extract import extract_samples
    from components.features.settings import FeatureSettings

    extract_samples(
        [Path(part.path) for part in prepared],
        Path(segmenter.path),
        FeatureSettings.model_validate_json(settings),
        Path(samples.path),
        progress=reporter("features"),
    )
    samples.metadata.update(
        code_version=code_version,
        seconds=seconds(),
        preprocess_seconds=sum(p.metadata.get("seconds", 0.0) for p in prepared),
    )
