"""A network of the release by ONNX Runtime: for servers without that backend of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.release.inference.onnx_network import OnnxNetwork
from serving.triton.backend import config_of, inputs_of, parameter, response


class TritonPythonModel:
    """Inputs and outputs are those of the model.onnx beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network."""
        config = config_of(args)
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        on_gpu = args["model_instance_kind"] == "GPU"
        gpu = int(args["model_instance_device_id"]) if on_gpu else None
        self.network = OnnxNetwork(path, int(parameter(config, "threads", "0")), gpu)
        self.batching = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests at once where the model batches, else one by one."""
        inputs = [inputs_of(request) for request in requests]
        if not self.batching:
            return [response(self.network(tensors)) for tensors in inputs]
        together = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
        found = self.network(together)
        first = next(iter(inputs[0]))
        ends = np.cumsum([len(one[first]) for one in inputs])[:-1]
        parts = {name: np.split(tensor, ends) for name, tensor in found.items()}
        return [
            response({name: part[index] for name, part in parts.items()})
            for index in range(len(inputs))
        ]
