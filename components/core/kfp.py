"""Container images of the steps, and the decorator every component.py is written with.

Image references are read at import, because KFP traces components when they are decorated. To pin a
compiled pipeline by digest, set the variables: GLIOFLOW_IMAGE_CPU=registry/name@sha256:...
"""

from __future__ import annotations

import functools
import os

from kfp import dsl

CPU_IMAGE = os.environ.get("GLIOFLOW_IMAGE_CPU", "ghcr.io/glioflow/glioflow-cpu:0.1.0")
"""Image of the steps that need no GPU."""

GPU_IMAGE = os.environ.get("GLIOFLOW_IMAGE_GPU", "ghcr.io/glioflow/glioflow-gpu:0.1.0")
"""Image of the training steps: the same tree on a CUDA base."""

TRITON_IMAGE = os.environ.get("GLIOFLOW_IMAGE_TRITON", "ghcr.io/glioflow/glioflow-triton:0.1.0")
"""Image of the check: the same tree with a Triton server."""

# The code is installed in the image, so that nothing is downloaded when a step starts.
component = functools.partial(
    dsl.component, base_image=CPU_IMAGE, packages_to_install=[], install_kfp_package=False
)
gpu_component = functools.partial(
    dsl.component, base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False
)
triton_component = functools.partial(
    dsl.component, base_image=TRITON_IMAGE, packages_to_install=[], install_kfp_package=False
)
