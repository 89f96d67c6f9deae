"""What happens when the store is away: the run is kept whole on disk, and sent later."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from components.core.errors import BadInput
from components.core.files import atomic, link_or_copy, link_tree, read_json, write_json
from components.core.progress import Progress, silent
from components.registry.gate.verdict import GateVerdict, Published
from components.registry.publish import publish_run
from components.registry.run_artifacts import FOLDERS, RunArtifacts, RunInfo
from components.registry.settings import PublishSettings
from components.registry.tracking.store import StoreUnreachable

log = logging.getLogger(__name__)

PENDING = "pending"
"""Folder of a kept run, below the `published` artifact."""

_REQUEST = "request.json"


def publish_or_keep(
    artifacts: RunArtifacts,
    settings: PublishSettings,
    out: Path,
    *,
    keeps: bool = True,
    progress: Progress = silent,
) -> Published:
    """Publish a run and write `out`/published.json; keep the run in `out`/pending if it cannot be.

    A kept run holds every artifact (linked where the disk allows), so that it outlives the
    pipeline's cache. It is not judged: its gate is not passed, with the outage as the reason.
    An error of ours keeps the run, too, and is raised again.

    Args:
        keeps: keep what cannot be sent; otherwise that is an error, and `out` stays empty.

    Raises:
        BadInput: as `publish_run`; nothing is kept then.
        StoreUnreachable: the store did not take the run, and `keeps` is not set.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        published = publish_run(artifacts, settings, progress=progress)
    except StoreUnreachable as error:
        if not keeps:
            raise error.later("submit the run again: the steps that succeeded are reused") from None
        keep(artifacts, settings, out / PENDING)
        reason = f"{error}. The run is kept in {out / PENDING}: send it later with `{_send(out)}`"
        log.warning("%s", reason)
        published = Published(
            mlflow_run_id=None,
            release=artifacts.release().release,
            gate=GateVerdict(passed=False, promotable=False, rules=(), reason=reason),
            pending=PENDING,
        )
    except Exception as error:
        if isinstance(error, BadInput) or not keeps:
            raise
        keep(artifacts, settings, out / PENDING)
        log.warning("the run is kept in %s: `%s`", out / PENDING, _send(out))
        raise
    published.write(out)
    return published


def _send(out: Path) -> str:
    return f"glioflow publish --resume {out}"


def keep(artifacts: RunArtifacts, settings: PublishSettings, folder: Path) -> None:
    """Write a run to `folder`, whole or not at all."""
    with atomic(folder) as temporary:
        for name in FOLDERS:
            link_tree(getattr(artifacts, name), temporary / name)
        link_or_copy(artifacts.predictions, temporary / "predictions.csv")
        request = {
            "settings": settings.model_dump(mode="json"),
            "code_version": artifacts.code_version,
            "info": artifacts.info.model_dump(mode="json"),
        }
        write_json(temporary / _REQUEST, request)


def pending_runs(folder: Path) -> list[Path]:
    """`published` artifacts below `folder` (a run's output folder) that hold a kept run."""
    found = {file.parent.parent.resolve() for file in folder.rglob(f"{PENDING}/{_REQUEST}")}
    for link in folder.glob(f"*/{PENDING}/{_REQUEST}"):
        # rglob does not follow the links that a run's folder holds.
        found.add(link.parent.parent.resolve())
    return sorted(found)


def resume(folder: Path, tracking_uri: str = "", *, progress: Progress = silent) -> list[Published]:
    """Send every run kept below `folder`; each one sent is removed from disk.

    Args:
        tracking_uri: another store than the one the run was meant for; empty: that one.

    Raises:
        BadInput: nothing is kept there.
        StoreUnreachable: the store is still away; what is kept stays kept.
    """
    kept = pending_runs(folder)
    if not kept:
        raise BadInput(folder, "holds no run that waits to be published", "give the run's --out")
    sent = []
    for place in kept:
        artifacts, settings = _read(place / PENDING)
        if tracking_uri:
            settings = settings.model_copy(update={"tracking_uri": tracking_uri})
        published = publish_run(artifacts, settings, progress=progress)
        published.write(place)
        shutil.rmtree(place / PENDING)
        sent.append(published)
    return sent


def _read(folder: Path) -> tuple[RunArtifacts, PublishSettings]:
    request = read_json(folder / _REQUEST)
    artifacts = RunArtifacts(
        **{name: folder / name for name in FOLDERS},
        predictions=folder / "predictions.csv",
        code_version=request["code_version"],
        info=RunInfo.model_validate(request["info"]),
    )
    return artifacts, PublishSettings.model_validate(request["settings"])
