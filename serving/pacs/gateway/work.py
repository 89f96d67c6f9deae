"""One study: chosen, asked about, written down, stored; each step is skipped where it was done."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydicom
import SimpleITK as sitk
from pydicom import Dataset

from components.cohort.dicom.headers import read_instances
from components.core.errors import BadInput
from components.core.files import write_json
from components.core.vocabulary import Sequence
from components.release.prediction import Prediction
from serving.client.glioflow_client.errors import Busy, Refused, ServerTrouble, Unreachable
from serving.client.glioflow_client.images import ImagesAnswer, zip_files
from serving.pacs.files import DICOM_FILES, SEGMENTATION_FILE
from serving.pacs.gateway.choice import ChosenSeries, choose_series
from serving.pacs.gateway.metrics import Counted
from serving.pacs.gateway.send import NotStored
from serving.pacs.gateway.spool import Spool
from serving.pacs.gateway.state import GatewayState, Phase, StudyRecord
from serving.report.files import MASK_FILE, PREDICTION_FILE, with_report

log = logging.getLogger(__name__)

MOST_FAULTS = 8
"""Attempts after which a study on which the server, or this program, stumbles is given up."""


class ImagesServer(Protocol):
    """What answers about image files: an ImagesClient."""

    def inputs(self) -> Iterable[str]:
        """Names of what the served release reads."""
        ...

    def predict(
        self, *, age: float, t1c: bytes | None, t2: bytes | None, flair: bytes | None
    ) -> ImagesAnswer:
        """Answer for one patient's files."""
        ...


@dataclass(frozen=True)
class Worker:
    """Takes studies from the spool to their end.

    Attributes:
        server: asked about images.
        store: brings objects of a study (by its UID) to where answers go. Raises NotStored.
    """

    state: GatewayState
    spool: Spool
    server: ImagesServer
    store: Callable[[str, list[Dataset]], None]
    counted: Counted

    def step(self) -> bool:
        """Work on the study that is due, if any; False where none is."""
        study = self.state.next_due()
        if study is None:
            return False
        try:
            self._work_on(study)
        except (Unreachable, Busy, NotStored) as error:
            self._later(study, str(error))
        except (BadInput, Refused) as error:
            log.info("study %s: refused: %s", study.key, error)
            self.state.end(study, Phase.REFUSED, f"{error.subject}: {error.problem}")
        except OSError as error:
            self._later(study, f"disk or settings: {error.strerror or type(error).__name__}")
        except ServerTrouble as error:
            self._fault(study, str(error))
        except Exception as error:
            # Not its words: they may quote a header.
            log.error("study %s: an error of ours: %s", study.key, type(error).__name__)
            self._fault(study, f"our fault: {type(error).__name__}")
        return True

    def _work_on(self, study: StudyRecord) -> None:
        images, _ = read_instances(self.spool.images(study.key))
        inputs = set(self.server.inputs())
        chosen = choose_series(images, [s for s in Sequence if s.value in inputs])
        if study.answered == chosen.digest:
            self.state.end(study, Phase.DONE)
            return
        folder = self.spool.answer(study.key, chosen.digest)
        if not folder.is_dir():
            self._ask(study, chosen)
        objects: list[Dataset] = [
            pydicom.dcmread(f) for n in DICOM_FILES if (f := folder / n).is_file()
        ]
        if not objects:
            raise BadInput("study", "its headers carry no DICOM answer", "see the warnings")
        self.store(study.study_uid, objects)
        status = Prediction.model_validate_json((folder / PREDICTION_FILE).read_bytes()).status
        self.counted.stored.inc()
        log.info("study %s: answered: %s", study.key, status.value)
        self.state.stored(study, chosen.digest, status.value)
        self.state.end(study, Phase.DONE)

    def _ask(self, study: StudyRecord, chosen: ChosenSeries) -> None:
        self.counted.asked.inc()
        sent = {s.value: zip_files(files) for s, files in chosen.files.items()}
        t1c, t2, flair = (sent.get(sequence.value) for sequence in Sequence)
        answer = self.server.predict(age=chosen.age, t1c=t1c, t2=t2, flair=flair)
        with self.spool.answering(study.key, chosen.digest) as folder:
            write_answer_files(folder, answer, chosen.files[Sequence.T1C])

    def _later(self, study: StudyRecord, reason: str) -> None:
        self.counted.errors.inc()
        log.warning("study %s: later: %s", study.key, reason)
        self.state.postpone(study, reason)

    def _fault(self, study: StudyRecord, reason: str) -> None:
        if study.attempts + 1 < MOST_FAULTS:
            self._later(study, reason)
            return
        self.counted.errors.inc()
        self.state.end(study, Phase.FAILED, reason)


def write_answer_files(folder: Path, answer: ImagesAnswer, t1c: Iterable[Path]) -> Prediction:
    """Write an answer as DICOM objects and prediction.json.

    Args:
        t1c: files of the series that was asked about.

    Returns:
        What prediction.json holds.
    """
    prediction = Prediction.model_validate(answer.result)
    if answer.mask_dicom:
        (folder / SEGMENTATION_FILE).write_bytes(answer.mask_dicom)
    with tempfile.TemporaryDirectory(prefix="glioflow-gateway-") as scratch:
        mask = None
        if answer.mask_nifti and prediction.reason is None:
            (Path(scratch) / MASK_FILE).write_bytes(answer.mask_nifti)
            mask = sitk.ReadImage(str(Path(scratch) / MASK_FILE))
        series = Path(scratch) / "series"
        series.mkdir()
        for index, file in enumerate(t1c):
            (series / f"{index:05d}.dcm").symlink_to(file.resolve())
        prediction = with_report(folder, prediction, series, mask)
    write_json(folder / PREDICTION_FILE, prediction.content())
    return prediction
