"""Where the code ran: commit, package versions, hardware, and who started it."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from components.core.device import processor_name
from components.core.git import commit_hash, tree_changed
from components.registry.run_artifacts import RunInfo

_ROOT = Path(__file__).resolve().parents[3]


def completed(info: RunInfo) -> RunInfo:
    """`info` with what this machine can tell where it is silent (commit, lock digest, actor)."""
    code = info.code
    if not code.commit:
        found = {"commit": commit_hash(), "dirty": tree_changed(untracked=False)}
        code = code.model_copy(update=found)
    lock = _ROOT / "constraints.txt"
    return info.model_copy(
        update={
            "code": code,
            "lock_sha256": info.lock_sha256
            or (hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""),
            "actor": info.actor or actor(),
        }
    )


def actor() -> str:
    """Who runs this process: GLIOFLOW_ACTOR, or user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A pod's arbitrary user id has no name.
        user = str(os.getuid())
    return os.environ.get("GLIOFLOW_ACTOR") or f"{user}@{socket.gethostname()}"


@cache
def packages() -> dict[str, str]:
    """Name -> version of every installed distribution, sorted by name."""
    found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


@cache
def hardware() -> dict[str, str]:
    """Processor, cores, memory, GPUs, operating system and Python of this machine."""
    import psutil

    gpu = "nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"
    return {
        "processor": processor_name(),
        "cores": str(os.cpu_count() or 0),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "gpu": (_run(*gpu) if shutil.which("nvidia-smi") else "") or "none",
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
