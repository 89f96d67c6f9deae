"""Answers on their way to a DICOM node (C-STORE SCU)."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from serving.pacs.gateway.settings import DicomNode

TIMEOUT_S = 60.0
_WARNINGS = range(0xB000, 0xC000)


class NotStored(Exception):
    """An answer could not be stored; it is tried again.

    Attributes:
        where: the setting that names the receiver.
        problem: what went wrong, without a word of the patient.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


def send(node: DicomNode, objects: list[Dataset]) -> None:
    """Send objects in this order, over one association. Raises NotStored."""
    entity = AE(ae_title=node.calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
    entity.connection_timeout = TIMEOUT_S
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    for kind in {str(item.SOPClassUID) for item in objects}:
        entity.add_requested_context(kind, syntaxes)
    tls = (node.tls.client_context(), node.host) if node.tls else None
    association = entity.associate(node.host, node.port, ae_title=node.ae_title, tls_args=tls)
    if not association.is_established:
        said = "rejects us" if association.is_rejected else "does not answer"
        raise NotStored("send", f"the DICOM node {said}")
    try:
        for item in objects:
            _store(association, item)
    finally:
        if association.is_established:
            association.release()


def _store(association: object, item: Dataset) -> None:
    try:
        status = association.send_c_store(item).get("Status")  # type: ignore[attr-defined]
    except (ValueError, RuntimeError):
        problem = f"the DICOM node does not take {item.Modality} objects"
        raise NotStored("send", problem) from None
    if status is None:
        raise NotStored("send", "the DICOM node went away")
    if status != 0 and status not in _WARNINGS:
        raise NotStored("send", f"the DICOM node refuses {item.Modality} objects ({status:04X})")
