"""A release is served by the kind of machine that is asked for; one without a GPU refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from components.core.errors import BadInput
from components.release.inference.onnx_network import OnnxNetwork
from components.release.release import VERSION, network_file
from components.release.settings import Node, ServingSettings, TensorRt
from components.release.tensors import Step
from serving.client.client import Client
from serving.triton.config import NETWORKS
from serving.triton.server import LocalServer
from serving.triton.server_folder import Store
from tests.serving.shop import Shop

CUDA = Path("/dev/nvidia0").exists()
without_cuda = pytest.mark.skipif(CUDA, reason="this machine has a CUDA device")


def configs(store: Store) -> dict[str, ModelConfig]:
    return {
        folder.name.partition("-")[0]: text_format.Parse(
            (folder / "config.pbtxt").read_text(), ModelConfig()
        )
        for folder in store.models.iterdir()
    }


def test_each_kind_of_machine_gets_its_own_configs(shop: Shop, tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = {}
    for node in (Node.CPU, Node.GPU, Node.NVIDIA):
        store.node = node
        store.make_live(store.add(shop.release.folder))
        found[node] = configs(store)
    for step in Step:
        (name,) = [name for name in found[Node.CPU] if name.startswith(step.value)]
        groups = {node: models[name].instance_group[0].kind for node, models in found.items()}
        backends = {node: models[name].backend for node, models in found.items()}
        network = step in NETWORKS
        on_gpu = ModelInstanceGroup.KIND_GPU if network else ModelInstanceGroup.KIND_CPU
        assert groups == {
            Node.CPU: ModelInstanceGroup.KIND_CPU, Node.GPU: on_gpu, Node.NVIDIA: on_gpu
        }  # fmt: skip
        own = "onnxruntime" if network else "python"
        assert backends == {Node.CPU: "python", Node.GPU: "python", Node.NVIDIA: own}


def test_every_release_holds_what_each_kind_of_machine_runs(shop: Shop) -> None:
    for step in NETWORKS:
        assert network_file(shop.release.folder, step).is_file()
        assert (shop.release.folder / step / VERSION / "model.py").is_file()


@without_cuda
def test_a_machine_without_a_gpu_refuses_and_serves_when_told(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--node cpu"), LocalServer(
        shop.release.folder, store=tmp_path, node=Node.GPU
    ):  # fmt: skip
        pass
    # The same folder, laid out for a GPU by now.
    with LocalServer(None, store=tmp_path, node=Node.CPU) as server, Client(
        server.grpc_address
    ) as client:  # fmt: skip
        assert client.contents() == shop.release.contents


@without_cuda
def test_a_network_for_a_gpu_never_runs_on_the_cpu_in_silence(shop: Shop) -> None:
    path = network_file(shop.release.folder, Step.SEGMENTER)
    with pytest.raises(RuntimeError, match="cannot use CUDA device 0"):
        OnnxNetwork(path, gpu=0)


def test_tensorrt_needs_tritons_own_backend() -> None:
    with pytest.raises(ValueError, match="node: nvidia"):
        ServingSettings(node=Node.GPU, tensorrt=TensorRt.FP16)
    assert ServingSettings(node=Node.NVIDIA, tensorrt=TensorRt.FP16).tensorrt is TensorRt.FP16
