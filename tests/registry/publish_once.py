"""Publish one run in a process of its own, which may be told to die on the way.

    python publish_once.py RUN_FOLDER TRACKING_URI [DIE_AT_CALL [EXPORT]]

With DIE_AT_CALL n the process kills itself (SIGKILL) at its n-th call to the store, or to the place
of EXPORT; with METHOD:n at its n-th call of that method of the latter.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.registry.publish import publish_run
from components.registry.run_artifacts import RunArtifacts
from components.registry.settings import PublishSettings


def artifacts_of(root: Path) -> RunArtifacts:
    """The run that `fabricate` wrote to `root`."""
    folders = ("validated", "segmenter", "samples", "classifier", "evaluation", "repository")
    return RunArtifacts(
        predictions=root / "predictions.csv", **{name: root / name for name in folders}
    )


def die_at(when: str) -> None:
    """Make the process kill itself at its n-th call: before it when n is odd, else after it."""
    from mlflow import MlflowClient

    from components.release.depot import _Bucket, _Folder

    only, _, number = when.rpartition(":")
    call, count = int(number), 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == call and call % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(*args, **kwargs)
            if count >= call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    for name in vars(MlflowClient):
        method = getattr(MlflowClient, name)
        if callable(method) and not name.startswith("_") and not only:
            setattr(MlflowClient, name, counted(method))
    for kind in (_Bucket, _Folder):
        for name in (only,) if only else ("read", "write", "put", "digest"):
            setattr(kind, name, counted(getattr(kind, name)))


def main() -> None:
    """Publish; print the number of the release's version."""
    root, uri = Path(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        die_at(sys.argv[3])
    export = sys.argv[4] if len(sys.argv) > 4 else ""
    done = publish_run(artifacts_of(root), PublishSettings(tracking_uri=uri, export=export))
    sys.stdout.write(done.registered["glioma-idh"] + "\n")


if __name__ == "__main__":
    main()
