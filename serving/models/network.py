"""A network of the release, run by ONNX Runtime: for servers without that backend of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from serving.backend import config_of, inputs_of, parameter, response


class TritonPythonModel:
    """Inputs and outputs are those of the model.onnx beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network."""
        import onnxruntime

        config = config_of(args)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameter(config, "threads", "0")) or _cores()
        # Threads that spin between requests take the cores of the models that work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.batching = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests at once where the model batches, else one by one."""
        inputs = [inputs_of(request) for request in requests]
        if not self.batching:
            return [response(self._run(tensors)) for tensors in inputs]
        together = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
        found = self._run(together)
        first = next(iter(inputs[0]))
        ends = np.cumsum([len(one[first]) for one in inputs])[:-1]
        parts = {name: np.split(tensor, ends) for name, tensor in found.items()}
        return [
            response({name: part[index] for name, part in parts.items()})
            for index in range(len(inputs))
        ]

    def _run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(None, tensors), strict=True))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
