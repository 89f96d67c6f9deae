"""Between Triton's Python backend and numpy: tensors by DLPack, errors that name the tensor.

Importable inside the server only. The backend's own numpy border is not used: with numpy 2 it
yields empty or wrong arrays without an error.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from components.core.errors import BadInput
from serving.triton.bytes_tensors import bytes_tensor

Outputs = Mapping[str, np.ndarray] | Mapping[str, np.ndarray | bytes]


class Trouble(RuntimeError):
    """Our own fault, in words for the client: INTERNAL without a path and a line."""


def config_of(args: Mapping[str, str]) -> dict[str, Any]:
    """The model's config.pbtxt, as Triton hands it to `initialize`."""
    return json.loads(args["model_config"])


def parameter(config: Mapping[str, Any], name: str, default: str = "") -> str:
    """A string parameter of the model's config."""
    return config.get("parameters", {}).get(name, {}).get("string_value", default)


def inputs_of(request: Any) -> dict[str, np.ndarray]:
    """Input tensors of a request, by name, without a copy."""
    return {tensor.name(): np.from_dlpack(tensor) for tensor in request.inputs()}


class _Handed:
    """An array handed to Triton, which renames the DLPack capsule in a way numpy does not know.

    numpy's destructor of the capsule would complain about each on stderr, so it is taken off; the
    memory is freed by the deleter inside, which Triton calls.
    """

    def __init__(self, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array)
        self.array = array if array.flags.writeable else array.copy()

    def __dlpack__(self, stream: object = None) -> object:
        capsule = self.array.__dlpack__()
        ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def response(tensors: Outputs) -> Any:
    """A response that holds `tensors`; bytes become a BYTES tensor of shape [1]."""
    return pb_utils.InferenceResponse(
        output_tensors=[
            bytes_tensor(name, tensor)
            if isinstance(tensor, bytes)
            else pb_utils.Tensor.from_dlpack(name, _Handed(tensor))
            for name, tensor in tensors.items()
        ]
    )


def invalid(error: BadInput) -> Any:
    """A response that tells the client what to mend (INVALID_ARGUMENT)."""
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    )


def answer_each(requests: list[Any], answer: Callable[[Any], Outputs]) -> list:
    """Answer requests one by one; bad input is that request's answer and nobody else's."""
    responses = []
    for request in requests:
        try:
            responses.append(response(answer(request)))
        except BadInput as error:
            responses.append(invalid(error))
        except Trouble as error:
            responses.append(
                pb_utils.InferenceResponse(
                    error=pb_utils.TritonError(str(error), pb_utils.TritonError.INTERNAL)
                )
            )
    return responses


def log(line: str) -> None:
    """A line in the server's log."""
    pb_utils.Logger.log_info(line)
