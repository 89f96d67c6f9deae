"""KFP step: train the segmenter on the prepared development cases."""

from typing import List  # noqa: UP035  (KFP reads this annotation)

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.core.kfp import gpu_component


@gpu_component
def train_segmenter_op(
    settings: str,
    code_version: str,
    prepared: Input[List[Dataset]],  # noqa: UP006
    segmenter: Output[Model],
    curves: Output[Dataset],
    metrics: Output[Metrics],
    checkpoints: str = "",
) -> None:
    """Train the segmenter on every GPU of the pod; see components.segment.training.train.

    Args:
        settings: SegmentSettings as JSON.
        code_version: part of the cache key, so that changed code trains again.
        prepared: prepared sets, one a shard.
        segmenter: the model folder.
        curves: learning curves, CSV.
        metrics: held-out Dice and threshold.
        checkpoints: folder on a persistent volume from which a restarted pod continues; empty takes
            the environment's GLIOFLOW_CHECKPOINTS, or the model folder.
    """
    import os
    from pathlib import Path

    from components.core.progress import reporter, seconds
    from components.segment.settings import SegmentSettings
    from components.segment.training.launch import train_here
    from components.segment.training.train import write_segmenter_outputs

    kept = checkpoints or os.environ.get("GLIOFLOW_CHECKPOINTS", "")
    train_here(
        [Path(part.path) for part in prepared],
        SegmentSettings.model_validate_json(settings),
        Path(segmenter.path),
        checkpoints=Path(kept) if kept else None,
        progress=reporter("segment"),
    )
    numbers = write_segmenter_outputs(Path(segmenter.path), Path(curves.path), Path(metrics.path))
    for name, value in numbers.items():
        metrics.log_metric(name, value)
    segmenter.metadata.update(code_version=code_version, seconds=seconds())
