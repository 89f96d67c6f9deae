"""Exported networks: one ONNX file each, the same wherever it was made."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import atomic

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 18


def export_module(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path | str,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: dict[str, Any] | None = None,
) -> None:
    """Write a network as one ONNX file, weights inside, without the exporter's notes.

    Those name the source files of the machine that exported, line by line.

    Args:
        module: in evaluation mode.
        example: inputs of the shapes it will get.
        inputs, outputs: names of the graph's tensors.
        dynamic_shapes: dimensions of the inputs that are free, as torch.onnx.export takes them.
    """
    import torch

    with _quiet():
        program = torch.onnx.export(
            module,
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    functions = [function.graph for function in program.model.functions.values()]
    for graph in (program.model.graph, *functions):
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    with atomic(path) as temporary:
        # One file, not weights beside it: 16 M parameters stay far below protobuf's 2 GB.
        program.save(temporary, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about torch's own parts."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
