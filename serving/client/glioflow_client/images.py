"""Asking about image files, which the server prepares."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .connection import CANARY_DEADLINE_S, CANARY_PRIORITY, CONNECT_S, Connection, infer_inputs
from .errors import Refused, ServerTrouble

Image = Path | str | bytes

IMAGES_MODEL = "glioma_idh_images"
SEQUENCES = ("t1c", "t2", "flair")
CANARY = b"canary"
"""Files that a server answers without a patient."""


@dataclass(frozen=True)
class ImagesAnswer:
    """What a server says of a patient's images.

    Attributes:
        result: prediction.json's content.
        mask_nifti: gzip NIfTI on the T1C's own grid.
        mask_dicom: DICOM SEG; empty unless the T1C was DICOM and a tumour was found.
        page_html: the answer for people; empty unless asked for.
    """

    result: dict[str, Any]
    mask_nifti: bytes
    mask_dicom: bytes
    page_html: bytes

    def write(self, folder: Path | str) -> None:
        """Write the answer's files into a folder, prediction.json last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.result, indent=2, sort_keys=True, allow_nan=False) + "\n"
        files = {
            "tumor_mask.nii.gz": self.mask_nifti,
            "tumor_mask.dcm": self.mask_dicom,
            "prediction.html": self.page_html,
            "prediction.json": content.encode(),
        }
        for name, found in files.items():
            if found:
                temporary = folder / f".{uuid.uuid4().hex[:8]}-{name}"
                temporary.write_bytes(found)
                temporary.replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)


class ImagesClient(Connection):
    """Asks about image files; the server prepares them."""

    _inputs: frozenset[str] | None = None

    def predict(
        self,
        *,
        age: float,
        t1c: Image | None = None,
        t2: Image | None = None,
        flair: Image | None = None,
        brain_mask: Image | None = None,
        page: bool = False,
        request_id: str = "",
    ) -> ImagesAnswer:
        """Ask about one patient. Retries while the server is busy or away, until the deadline.

        Args:
            age: years.
            t1c, t2, flair: each a NIfTI file, a ZIP or a folder of one DICOM series, or such a
                file's bytes. What the release does not read is not sent.
            brain_mask: likewise, in the T1C's space.
            page: whether to draw the page for people.
            request_id: for the server's log; drawn at random by default.

        Raises:
            Refused: the input must be mended; names it.
            Unreachable: nothing answers there, or not to us.
            Busy: the server was full until the deadline.
            ServerTrouble: anything else went wrong on the server.
        """
        wanted = self.inputs()
        images = {"t1c": t1c, "t2": t2, "flair": flair, "brain_mask": brain_mask}
        given = {name: image for name, image in images.items() if image is not None}
        for name in SEQUENCES:
            if name in wanted and name not in given:
                raise Refused(f"--{name}", "this release needs that sequence", "give its file")
        tensors: dict[str, np.ndarray] = {
            name: as_element(read_image(image))
            for name, image in given.items()
            if name in wanted or name not in SEQUENCES
        }
        tensors["age"] = np.array([age], np.float32)
        tensors["page"] = np.array([page], np.uint8)
        return self._ask(tensors, request_id or uuid.uuid4().hex)

    def inputs(self) -> frozenset[str]:
        """Names of the inputs of the served release."""
        if self._inputs is None:
            told = self.patiently(
                lambda left: self._raw.get_model_metadata(
                    IMAGES_MODEL, headers=self.access.headers, client_timeout=left
                ),
                CONNECT_S,
            )
            self._inputs = frozenset(tensor.name for tensor in told.inputs)
        return self._inputs

    def canary(self) -> str | None:
        """None when the server answers a whole request without a patient; else why not."""
        try:
            names = [name for name in SEQUENCES if name in self.inputs()]
            tensors = dict.fromkeys(names, as_element(CANARY)) | {"age": np.ones(1, np.float32)}
            inputs = infer_inputs(tensors)
            self.patiently(
                lambda left: self.attempt(IMAGES_MODEL, inputs, "canary", left, CANARY_PRIORITY),
                CANARY_DEADLINE_S,
            )
        except (Refused, ServerTrouble) as error:
            return str(error)
        return None

    def _ask(self, tensors: Mapping[str, np.ndarray], request_id: str) -> ImagesAnswer:
        inputs = infer_inputs(tensors)
        got = self.patiently(lambda left: self.attempt(IMAGES_MODEL, inputs, request_id, left))
        masks = (got.as_numpy(name)[0] for name in ("mask_nifti", "mask_dicom", "page_html"))
        return ImagesAnswer(json.loads(got.as_numpy("result")[0]), *masks)


def read_image(image: Image) -> bytes:
    """A file's bytes; of a folder, the ZIP of its files, under numbers for names."""
    if isinstance(image, bytes):
        return image
    path = Path(image)
    try:
        if not path.is_dir():
            return path.read_bytes()
        return zip_files(sorted(file for file in path.iterdir() if file.is_file()))
    except OSError as error:
        said = error.strerror or "not readable"
        raise Refused(path, said, "give a NIfTI file, or a ZIP or folder of DICOM") from None


def zip_files(files: Sequence[Path]) -> bytes:
    """A ZIP of a series' files under numbers for names; the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for index, file in enumerate(files):
            entry = zipfile.ZipInfo(f"{index:05d}.dcm")
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def as_element(content: bytes) -> np.ndarray:
    """Bytes as a tensor of one element."""
    return np.array([content], dtype=np.object_)
