"""What a profile may set about serving."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from components.core.settings import Settings


class Node(StrEnum):
    """Kind of machine the networks run on. Every release holds what each kind needs."""

    CPU = "cpu"
    """ONNX Runtime inside Triton's Python backend: the server on PyPI has no other backend."""

    GPU = "gpu"
    """The same on CUDA."""

    NVIDIA = "nvidia"
    """ONNX Runtime on CUDA as a backend of its own, which NVIDIA's image of Triton has."""


class TensorRt(StrEnum):
    """Whether Triton's own ONNX Runtime hands the segmenter to TensorRT (node "nvidia" only)."""

    OFF = "off"
    FP32 = "fp32"
    FP16 = "fp16"


class RequestLimits(Settings):
    """What one request of image files may cost; beyond, it is refused.

    Attributes:
        file_mb: MiB of one file as it is sent.
        unpacked_mb: MiB of one file (or of one ZIP's files together) when uncompressed.
        zip_files: files in one ZIP.
        voxels: of one image.
        seconds: of the whole preparation.
        memory_mb: MiB that the preparing process may hold.
    """

    file_mb: int = Field(default=256, ge=1)
    unpacked_mb: int = Field(default=1024, ge=1)
    zip_files: int = Field(default=4000, ge=1)
    voxels: int = Field(default=150_000_000, ge=1)
    seconds: float = Field(default=300.0, gt=0.0)
    memory_mb: int = Field(default=6144, ge=256)


class ServingSettings(Settings):
    """How a release is laid out for Triton.

    Attributes:
        node: see Node.
        tensorrt: see TensorRt.
        threads: CPU threads of one segmenter instance; 0 takes the cores at hand.
        segmenter_instances, step_instances, classifier_instances: copies of each model that work
            at the same time. Two segmenters keep the cores busy while one patient is in another
            model (docs/serving.md has the measurement).
        prepare_instances: patients that are prepared from image files at the same time, each on one
            core, in a process of lower priority than the other models.
        limits: see RequestLimits.
        queue: patients that may wait before each model; one more is answered UNAVAILABLE.
        queue_timeout_s: longest wait of a patient in one queue before it is answered UNAVAILABLE.
        classifier_batch: most patients that the classifier takes at once.
        classifier_delay_ms: how long it waits for more of them.
        warm_up: run the networks once on zeros before a model counts as loaded.
    """

    node: Node = Node.CPU
    tensorrt: TensorRt = TensorRt.OFF
    threads: int = Field(default=0, ge=0)
    segmenter_instances: int = Field(default=2, ge=1, le=64)
    step_instances: int = Field(default=1, ge=1, le=64)
    classifier_instances: int = Field(default=1, ge=1, le=64)
    prepare_instances: int = Field(default=1, ge=1, le=64)
    limits: RequestLimits = RequestLimits()
    queue: int = Field(default=16, ge=1)
    queue_timeout_s: float = Field(default=300.0, gt=0.0)
    classifier_batch: int = Field(default=8, ge=1, le=1024)
    classifier_delay_ms: float = Field(default=0.0, ge=0.0)
    warm_up: bool = True

    @model_validator(mode="after")
    def _tensorrt_has_its_node(self) -> ServingSettings:
        if self.tensorrt is not TensorRt.OFF and self.node is not Node.NVIDIA:
            raise ValueError("tensorrt needs node: nvidia")
        return self
