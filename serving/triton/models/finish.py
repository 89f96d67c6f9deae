"""Last model for clients that send image files: JSON, and the mask on the T1C's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.core.vocabulary import Sequence
from components.release.image_tensors import MASK_DICOM, MASK_NIFTI, PAGE, PAGE_HTML, RESULT
from components.release.manifest import Contents, release_beside
from components.release.settings import RequestLimits
from serving.images.finish import finish
from serving.triton.backend import answer_each, config_of, parameter
from serving.triton.bytes_tensors import bytes_of, install

install()


class TritonPythonModel:
    """See serving.images.finish.finish."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the plan and the release."""
        folder = Path(args["model_repository"])
        self.contents = Contents.read(folder / args["model_version"])
        self.release = release_beside(folder)
        self.limits = RequestLimits.model_validate_json(parameter(config_of(args), "limits", "{}"))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Finish each request."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> dict[str, np.ndarray | bytes]:
        t1c, tensors = b"", {}
        for tensor in request.inputs():
            if tensor.name() == Sequence.T1C:
                t1c = bytes_of(tensor)
            else:
                tensors[tensor.name()] = np.from_dlpack(tensor)
        page = bool(tensors.pop(PAGE.name, np.zeros(1))[0])
        made = finish(tensors, t1c, self.contents, self.release, self.limits, page=page)
        return {
            RESULT.name: made.result,
            MASK_NIFTI.name: made.mask_nifti,
            MASK_DICOM.name: made.mask_dicom,
            PAGE_HTML.name: made.page,
        }
