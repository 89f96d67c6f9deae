"""Networks tried in a Triton server of their own, before a release is made of them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from components.release.release import VERSION, network_file
from components.release.settings import Node, ServingSettings
from components.release.tensors import Interface, Step
from serving.triton.binary import (
    prepare_backends,
    server_command,
    server_environment,
)
from serving.triton.config import model_configs
from serving.triton.models import write_model_code
from serving.triton.process import end_group, free_port
from serving.triton.server import STOP_TIMEOUT_S, ServerFailed

START_TIMEOUT_S = 120.0
HOST = "127.0.0.1"


def try_networks(
    files: Mapping[Step, Path], interface: Interface, settings: ServingSettings
) -> None:
    """Serve networks on the CPU and send each one request of the right shape.

    Args:
        files: the ONNX file of each network.
        interface: names, shapes and types of the requests and of what must come back.
        settings: those of the release; its node is taken as a CPU node.

    Raises:
        ServerFailed: a network does not load, or its outputs are not those of `interface`.
        BadInput: no Triton server is installed.
    """
    from tritonclient.grpc import InferenceServerClient

    with tempfile.TemporaryDirectory(prefix="glioflow-check-") as folder:
        repository = Path(folder) / "models"
        _lay_out(repository, files, interface, settings)
        with _server(Path(folder), list(files)) as (process, address, log):
            client = InferenceServerClient(address)
            try:
                for step in files:
                    _await_model(client, step.value, process, log)
                    _try_network(client, step, interface)
            finally:
                client.close()


def _lay_out(
    repository: Path,
    files: Mapping[Step, Path],
    interface: Interface,
    settings: ServingSettings,
) -> None:
    on_cpu = settings.model_copy(update={"node": Node.CPU, "warm_up": False})
    configs = model_configs(interface, on_cpu, {})
    for step, file in files.items():
        model = repository / step.value
        (model / VERSION).mkdir(parents=True)
        (model / "config.pbtxt").write_text(configs[step.value])
        write_model_code(model / VERSION, "network")
        network_file(repository, step).symlink_to(file.resolve())


@contextmanager
def _server(folder: Path, steps: list[Step]) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    ports = [free_port(HOST, 0) for _ in range(3)]
    folders = {
        "model-repository": folder / "models",
        "backend-directory": prepare_backends(folder / "backends"),
    }
    command = server_command(folders, HOST, ports, [step.value for step in steps])
    log = folder / "triton.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=server_environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, f"{HOST}:{ports[0]}", log
    finally:
        end_group(process, STOP_TIMEOUT_S)


def _await_model(client: object, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    from tritonclient.utils import InferenceServerException

    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if client.is_model_ready(name):  # type: ignore[attr-defined]
                return
        except InferenceServerException:
            pass  # Not listening yet.
        if "failed to load" in log.read_text(errors="replace"):
            break
        time.sleep(0.2)
    failure = [line for line in log.read_text(errors="replace").splitlines() if "fail" in line]
    raise ServerFailed(f"Triton does not load {name}: {' '.join(failure[-1:])}")


def _try_network(client: object, step: Step, interface: Interface) -> None:
    from tritonclient.grpc import InferInput
    from tritonclient.utils import InferenceServerException

    # Of the two networks only the classifier has a batch dimension, which its tensors leave out.
    batch = (1,) if step is Step.CLASSIFIER else ()
    inputs = []
    for tensor in interface.inputs(step):
        values = np.zeros(batch + tensor.shape, tensor.dtype.numpy)
        inputs.append(InferInput(tensor.name, list(values.shape), tensor.dtype.value))
        inputs[-1].set_data_from_numpy(values)
    try:
        answer = client.infer(step.value, inputs)  # type: ignore[attr-defined]
    except InferenceServerException as error:
        raise ServerFailed(
            f"{step.value} refuses a request of the right shape: {error.message()}"
        ) from error
    for tensor in interface.outputs(step):
        found = answer.as_numpy(tensor.name)
        expected = batch + (tensor.shape or (1,))
        if found is None or found.size != np.prod(expected) or not np.isfinite(found).all():
            raise ServerFailed(f"{step.value} does not give {tensor.name} as {expected}")
