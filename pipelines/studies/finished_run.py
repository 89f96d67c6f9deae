"""Studies of a finished run: its ablations, its robustness, and a report that holds them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.classify.settings import ClassifySettings
from components.core.errors import BadInput
from components.core.files import read_json
from components.core.progress import Progress, silent
from components.evaluate.report.supplements import Supplements
from components.evaluate.settings import EvaluateSettings

ABLATIONS, ROBUSTNESS, REPORT = "ablations", "robustness", "report"
"""Folders of a run in which the studies are kept."""


def classify_settings(
    run: Path, *, epochs: int | None = None, seeds: int | None = None
) -> ClassifySettings:
    """What the run's classifiers were trained with, or less of it.

    Raises BadInput: not a finished run.
    """
    content = _settings(run / "classifier" / "model.json")
    settings = ClassifySettings.model_validate(content)
    if epochs is not None:
        update = {"epochs": epochs}
        settings = settings.model_copy(
            update={
                "warm": settings.warm.model_copy(update=update),
                "fine": settings.fine.model_copy(update=update),
            }
        )
    return settings if seeds is None else settings.model_copy(update={"seeds": seeds})


def evaluate_settings(run: Path) -> EvaluateSettings:
    """What the run was evaluated with. Raises BadInput: not a finished run."""
    return EvaluateSettings.model_validate(_settings(run / "evaluation" / "evaluation.json"))


def _settings(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path)["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(path, "no such file", "give the folder of a finished run") from None


def ablate(
    run: Path,
    out: Path | None = None,
    *,
    only: tuple[str, ...] = (),
    epochs: int | None = None,
    seeds: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train every ablation on the run's samples and judge it on every set.

    Args:
        out: folder; RUN/ablations unless given.
        only, epochs, seeds: fewer ablations, shorter stages, fewer networks.

    Returns:
        See components.evaluate.studies.ablations.evaluate_ablations.

    Raises:
        BadInput: not a finished run, or an unknown ablation.
    """
    from components.classify.training.ablation import train_ablations
    from components.evaluate.studies.ablations import evaluate_ablations

    settings = classify_settings(run, epochs=epochs, seeds=seeds)
    judging = evaluate_settings(run)
    out = out or run / ABLATIONS
    folders = train_ablations(run / "samples", settings, out, only=only, progress=progress)
    return evaluate_ablations(folders, judging, out)


def robustness(
    run: Path,
    out: Path | None = None,
    *,
    site: str = "snuh",
    patients: int = 20,
    seed: int = 1,
    workers: int = 2,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Ask the run's release for phantoms in ever worse images; see `study_robustness`."""
    from pipelines.studies.robustness import study_robustness

    judging = evaluate_settings(run)
    return study_robustness(
        run / "repository", judging, out or run / ROBUSTNESS,
        site=site, patients=patients, seed=seed, workers=workers, progress=progress,
    )  # fmt: skip


def report(run: Path, out: Path | None = None, *, progress: Progress = silent) -> Path:
    """Write the run's report again, with the studies that were made since; returns report.html.

    The run's own evaluation is part of what was published, and stays as it is.
    """
    from components.evaluate.evaluate import evaluate_predictions

    out = out or run / REPORT
    evaluate_predictions(
        run / "predictions",
        run / "samples" / "features.csv",
        evaluate_settings(run),
        out,
        supplements=Supplements(
            classifier=run / "classifier",
            manifest=_existing(run / "validated" / "accepted.csv"),
            ablations=_existing(run / ABLATIONS / "ablations.json"),
            robustness=_existing(run / ROBUSTNESS / "robustness.json"),
        ),
        progress=progress,
    )
    return out / "report.html"


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
