"""config.pbtxt of every model of a release, made from the interface and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.release.image_tensors import (
    image_inputs,
    image_outputs,
    model_inputs,
    model_outputs,
    named_among_images,
)
from components.release.release import VERSION, model_name
from components.release.settings import Node, ServingSettings, TensorRt
from components.release.tensors import (
    ENSEMBLE,
    IMAGES_ENSEMBLE,
    PREPARED_STEPS,
    DType,
    Interface,
    Step,
    Tensor,
    named_in_ensemble,
)

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

NETWORKS = (Step.SEGMENTER, Step.CLASSIFIER)
"""Models that are one ONNX file."""

QUEUED = (Step.PREPARE, Step.CHECK, Step.SEGMENTER, Step.FEATURE_SLICE)
"""Models before which patients may have to wait."""

PATIENTS_PRIORITY = 2
"""Behind 1, with which clients send canaries (glioflow_client.connection.CANARY_PRIORITY)."""


def model_configs(
    interface: Interface,
    settings: ServingSettings,
    parameters: Mapping[str, str],
    *,
    suffix: str = "",
) -> dict[str, str]:
    """Model name -> config.pbtxt, the ensembles among them.

    Args:
        interface: names, shapes and types.
        settings: instances, threads, queues, backends.
        parameters: written into the ensembles' configs, where clients can read them.
        suffix: appended to the names of the ensemble's models (not of the ensemble), so that two
            releases can be loaded side by side.
    """
    from google.protobuf import text_format

    configs = [_model(step, interface, settings, suffix) for step in Step]
    configs.append(_prepared_ensemble(interface, parameters, suffix))
    configs.append(_images_ensemble(interface, parameters, suffix))
    return {config.name: text_format.MessageToString(config) for config in configs}


def _model(step: Step, interface: Interface, settings: ServingSettings, suffix: str) -> ModelConfig:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = ModelConfig(name=model_name(step, suffix))
    _add_tensors(config, model_inputs(interface, step), model_outputs(interface, step))
    network = step in NETWORKS
    own_backend = network and settings.node is Node.NVIDIA
    config.backend = "onnxruntime" if own_backend else "python"
    config.default_model_filename = "model.onnx" if own_backend else "model.py"
    _pin_version(config)
    group = config.instance_group.add(count=_instances(step, settings))
    group.kind = group.KIND_GPU if network and settings.node is not Node.CPU else group.KIND_CPU
    if own_backend:
        _accelerate(config, step, settings)
    else:
        # The models before and behind the networks work in memory of the CPU.
        config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "yes"
        config.parameters["threads"].string_value = str(_threads(step, settings))
    if step in (Step.PREPARE, Step.FINISH):
        config.parameters["limits"].string_value = settings.limits.model_dump_json()
    if step is Step.CLASSIFIER:
        config.max_batch_size = settings.classifier_batch
        delay = round(settings.classifier_delay_ms * 1000)
        config.dynamic_batching.max_queue_delay_microseconds = delay
    if step in QUEUED:
        _bound_queue(config, settings)
    if step in NETWORKS and settings.warm_up:
        _warm_up(config, interface.inputs(step))
    return config


def _pin_version(config: ModelConfig) -> None:
    """Serve this one version: whatever else lies beside it is never picked up."""
    config.version_policy.specific.versions.append(int(VERSION))


def _add_tensors(
    config: ModelConfig, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> None:
    for tensors, field in ((inputs, config.input), (outputs, config.output)):
        for tensor in tensors:
            entry = field.add(name=tensor.name, data_type=_data_type(tensor))
            if tensor.optional:
                entry.optional = True
            entry.dims.extend(tensor.shape or (1,))
            if not tensor.shape:
                # One number a patient: Triton wants a dimension, the ONNX file has none.
                entry.reshape.SetInParent()


def _data_type(tensor: Tensor) -> int:
    from tritonclient.grpc.model_config_pb2 import DataType

    name = "STRING" if tensor.dtype is DType.BYTES else tensor.dtype.value
    return DataType.Value(f"TYPE_{name}")


def _instances(step: Step, settings: ServingSettings) -> int:
    return {
        Step.PREPARE: settings.prepare_instances,
        Step.SEGMENTER: settings.segmenter_instances,
        Step.FEATURE_SLICE: settings.step_instances,
        Step.CLASSIFIER: settings.classifier_instances,
    }.get(step, 1)


def _threads(step: Step, settings: ServingSettings) -> int:
    return settings.threads if step is Step.SEGMENTER else 1


def _accelerate(config: ModelConfig, step: Step, settings: ServingSettings) -> None:
    if step is not Step.SEGMENTER or settings.tensorrt is TensorRt.OFF:
        return
    accelerators = config.optimization.execution_accelerators
    accelerator = accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters["precision_mode"] = settings.tensorrt.value.upper()
    accelerator.parameters["trt_engine_cache_enable"] = "true"


def _bound_queue(config: ModelConfig, settings: ServingSettings) -> None:
    """Refuse, do not delay: a queue policy works without batching too."""
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size = settings.queue
    policy.timeout_action = policy.REJECT
    policy.default_timeout_microseconds = round(settings.queue_timeout_s * 1e6)
    policy.allow_timeout_override = True
    # Canaries go first, and have a queue of their own: a full server is no dead one.
    config.dynamic_batching.priority_levels = PATIENTS_PRIORITY
    config.dynamic_batching.default_priority_level = PATIENTS_PRIORITY


def _warm_up(config: ModelConfig, inputs: tuple[Tensor, ...]) -> None:
    sample = config.model_warmup.add(name="zeros", batch_size=min(config.max_batch_size, 1))
    for tensor in inputs:
        entry = sample.inputs[tensor.name]
        entry.data_type = _data_type(tensor)
        entry.dims.extend(tensor.shape or (1,))
        entry.zero_data = True


def _prepared_ensemble(
    interface: Interface, parameters: Mapping[str, str], suffix: str
) -> ModelConfig:
    config = _ensemble(ENSEMBLE, interface.inputs(), interface.outputs(), parameters)
    for step in PREPARED_STEPS:
        inputs = {t.name: named_in_ensemble(step, t).name for t in interface.inputs(step)}
        outputs = {t.name: named_in_ensemble(step, t).name for t in interface.outputs(step)}
        _add_step(config, model_name(step, suffix), inputs, outputs)
    return config


def _images_ensemble(
    interface: Interface, parameters: Mapping[str, str], suffix: str
) -> ModelConfig:
    config = _ensemble(IMAGES_ENSEMBLE, image_inputs(interface), image_outputs(), parameters)
    # Triton takes no output that nobody reads.
    read = {tensor.name for tensor in image_outputs()} | {
        named_among_images(interface, step, tensor)
        for step in Step
        for tensor in model_inputs(interface, step)
    }
    for step in Step:
        inputs, outputs = (
            {tensor.name: named_among_images(interface, step, tensor) for tensor in tensors}
            for tensors in (model_inputs(interface, step), model_outputs(interface, step))
        )
        kept = {name: place for name, place in outputs.items() if place in read}
        _add_step(config, model_name(step, suffix), inputs, kept)
    return config


def _ensemble(
    name: str,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    parameters: Mapping[str, str],
) -> ModelConfig:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = ModelConfig(name=name, platform="ensemble")
    _pin_version(config)
    _add_tensors(config, inputs, outputs)
    for key, value in sorted(parameters.items()):
        config.parameters[key].string_value = value
    return config


def _add_step(
    config: ModelConfig, model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> None:
    entry = config.ensemble_scheduling.step.add(model_name=model, model_version=int(VERSION))
    entry.input_map.update(inputs)
    entry.output_map.update(outputs)
