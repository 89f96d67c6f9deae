"""The Python models of Triton's ensembles, by the names that releases call them by.

The model.py of a release holds MODEL_CODE alone. A release that was exported before still loads as
long as this module, `model_class` and the names of the models stay, whatever else is renamed.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

MODEL_CODE = '''"""A model of this release: the code is that of the glioflow which serves it."""

from serving.triton.models import model_class

TritonPythonModel = model_class("{name}")
'''


def write_model_code(folder: Path, name: str) -> None:
    """Write model.py of the model that the module `name` of this package holds."""
    (folder / "model.py").write_text(MODEL_CODE.format(name=name))


def model_class(name: str) -> type:
    """The class that Triton runs; importable inside the server only."""
    model: type = import_module(f"{__name__}.{name}").TritonPythonModel
    return model
