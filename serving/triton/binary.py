"""Triton's server binary, as the nvidia-pytriton wheel carries it, and what it needs around it."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from components.core.errors import BadInput
from serving.triton.process import bracketed

_BY_HTTP = ("http", "metrics")
"""Interfaces whose library takes an IPv6 address after "ipv6:" alone: given one in brackets, Triton
says that it listens, and does not."""


def tritonserver() -> Path:
    """The server binary. Raises BadInput where the wheel is not installed (it is Linux-only)."""
    path = _wheel() / "tritonserver" / "bin" / "tritonserver"
    if not path.is_file():
        raise BadInput(path, "the wheel holds no server", "install nvidia-pytriton again")
    return path


def prepare_backends(folder: Path) -> Path:
    """Make a backend folder that holds the Python backend and this Python's stub; returns it.

    Raises BadInput: the wheel has no stub for this Python version.
    """
    server = _wheel() / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise BadInput(f"Python {version}", "nvidia-pytriton has no stub for it", "use 3.11")
    target = folder / "python"
    target.mkdir(parents=True, exist_ok=True)
    source = server / "backends" / "python"
    for file in (*source.glob("*.so"), *source.glob("*.py"), stub):
        shutil.copy2(file, target / file.name)
    return folder


def server_environment() -> dict[str, str]:
    """Environment in which the server and its Python models find Python and this code."""
    packages = Path(sysconfig.get_paths()["purelib"])
    code = Path(__file__).resolve().parents[2]
    libraries = [sysconfig.get_config_var("LIBDIR"), packages / "nvidia_pytriton.libs"]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "LD_LIBRARY_PATH": _joined(*libraries, os.environ.get("LD_LIBRARY_PATH", "")),
        "PYTHONPATH": _joined(code, packages, os.environ.get("PYTHONPATH", "")),
        # The feature step's libraries would each start a thread a core, beside the networks'.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _joined(*parts: object) -> str:
    return os.pathsep.join(str(part) for part in parts if part)


def _wheel() -> Path:
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            "Triton server", "nvidia-pytriton is not installed", "run `make setup` on Linux"
        )
    return Path(spec.submodule_search_locations[0])


def server_command(
    folders: Mapping[str, Path],
    host: str,
    ports: Iterable[int],
    models: Iterable[str],
    **flags: object,
) -> list[str]:
    """The command line of a server that loads what it is told to, and nothing else.

    Args:
        folders: "model-repository" and "backend-directory".
        host: address to listen on; at `::` gRPC takes IPv4, too, HTTP and metrics do not.
        ports: of gRPC, HTTP and metrics, all on `host`.
        models: loaded at start.
        flags: further ones, by Triton's names with "_" for "-".

    Raises:
        BadInput: see `tritonserver`.
    """
    interfaces = dict(zip(("grpc", "http", "metrics"), ports, strict=True))
    ours: dict[str, object] = {
        "model-control-mode": "explicit",
        "strict-readiness": "true",
        # One broken model must not take the server down with it.
        "exit-on-error": "false",
        "allow-gpu-metrics": "false",
        "log-verbose": 0,
        **folders,
        "grpc-address": bracketed(host),
        **{f"{kind}-address": f"ipv6:{host}" if ":" in host else host for kind in _BY_HTTP},
        **{f"{kind}-port": port for kind, port in interfaces.items()},
        **{name.replace("_", "-"): value for name, value in flags.items()},
    }
    options = [f"--{name}={value}" for name, value in ours.items()]
    loaded = [f"--load-model={name}" for name in models]
    return [str(tritonserver()), "--disable-auto-complete-config", *options, *loaded]
