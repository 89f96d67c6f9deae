"""Exported networks: one ONNX file each, the same wherever it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.core.files import atomic

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

OPSET = 18


def save_onnx(program: ONNXProgram | None, path: Path | str) -> None:
    """Write an exported network, weights inside, without the exporter's notes.

    Those name the source files of the machine that exported, line by line.
    """
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
