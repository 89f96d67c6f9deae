"""A release answering in this process: what the ensemble does, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from components.release.inference.ensemble import (
    ServedStep,
    check_request,
    digest_request,
    stack_channels,
)
from components.release.inference.onnx_network import OnnxNetwork
from components.release.inference.outputs import final_tensors, step_tensors
from components.release.inference.request import Answer
from components.release.integrity.verification import verify_release
from components.release.manifest import Contents
from components.release.release import VERSION, network_file
from components.release.tensors import CLASSIFIED, Step, named_in_ensemble


class LocalRelease:
    """A verified release; `ask` answers like serving.client.client.Client.ask.

    Raises BadInput: see `components.release.integrity.verification.verify_release`.
    """

    def __init__(self, repository: Path | str) -> None:
        self.release = verify_release(repository)

    def contents(self) -> Contents:
        """See Contents."""
        return self.release.contents

    @cached_property
    def segmenter(self) -> OnnxNetwork:
        """The segmenter."""
        return OnnxNetwork(network_file(self.release.folder, Step.SEGMENTER))

    @cached_property
    def classifier(self) -> OnnxNetwork:
        """The classifier."""
        return OnnxNetwork(network_file(self.release.folder, Step.CLASSIFIER))

    @cached_property
    def step(self) -> ServedStep:
        """The feature/slice step."""
        return ServedStep.read(self.release.folder / Step.FEATURE_SLICE / VERSION)

    def ask(self, tensors: Mapping[str, np.ndarray]) -> Answer:
        """Answer for one patient's tensors. Raises BadInput naming the tensor at fault."""
        return Answer.from_tensors(self.infer(tensors))

    def infer(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The ensemble's outputs: the models one after the other."""
        contents = self.contents()
        interface = contents.interface
        check_request(tensors, interface, contents.plan_digest)
        segmented = self.segmenter(
            {"volumes": stack_channels(tensors, interface), "brain": tensors["brain"]}
        )
        found = step_tensors(self.step.run(segmented["probability"], tensors))
        classified = self.classifier(
            {"images": found["batch_images"], "features": found["batch_features"]}
        )
        between = {
            named_in_ensemble(Step.CLASSIFIER, tensor).name: classified[tensor.name]
            for tensor in CLASSIFIED
        }
        digest = np.frombuffer(digest_request(tensors, interface), np.uint8)
        final = final_tensors(
            {**found, **between, "input_digest": digest}, contents.limits, self.release.release
        )
        return {**found, **final}
