"""A network of the release, run by ONNX Runtime on the CPU, or on CUDA."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.core.device import cores
from components.core.errors import BadInput

_CUDA = "CUDAExecutionProvider"


class OnnxNetwork:
    """One ONNX file, loaded.

    Args:
        path: its weights may lie beside it.
        threads: CPU threads; 0 takes the cores at hand.
        gpu: number of the CUDA device to run on; None runs on the CPU.

    Raises:
        RuntimeError: ONNX Runtime cannot use the CUDA device.
    """

    def __init__(self, path: Path, threads: int = 0, gpu: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        # Threads that spin between requests take the cores of the models that work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[object] = ["CPUExecutionProvider"]
        if gpu is not None:
            # The CUDA libraries are those of the wheels, which no loader's path names.
            getattr(onnxruntime, "preload_dlls", lambda: None)()
            # TF32 would leave the bounds that the exported networks were held to.
            providers.insert(0, (_CUDA, {"device_id": str(gpu), "use_tf32": "0"}))
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        # ONNX Runtime warns and takes the CPU where CUDA does not start.
        if gpu is not None and self._session.get_providers()[0] != _CUDA:
            raise RuntimeError(f"{path.name}: ONNX Runtime cannot use CUDA device {gpu}")
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))


def require_cuda() -> None:
    """Refuse a machine on which no network can run on CUDA.

    Raises:
        BadInput: ONNX Runtime was installed without CUDA, or no CUDA device is visible.
    """
    import onnxruntime

    if _CUDA not in onnxruntime.get_available_providers():
        raise BadInput(
            "node gpu",
            "ONNX Runtime is installed without CUDA here",
            "use the image glioflow-triton-gpu, or serve on the CPU with --node cpu",
        )
    if not _cuda_devices():
        raise BadInput(
            "node gpu",
            "no CUDA device is visible here",
            "give the container a GPU, or serve on the CPU with --node cpu",
        )


def _cuda_devices() -> int:
    """CUDA devices that the driver shows to this process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
