"""Coded concepts of the measurement report: DICOM's own where there is one, else of our scheme."""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes

from components.core.vocabulary import Status

SCHEME = "99GLIOFLOW"
"""Designator of our private coding scheme (PS3.16, 8.2: private schemes begin with 99)."""


def _own(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, SCHEME, meaning)


STATUS = _own("STATUS", "Status of the answer")
STATUS_VALUES = {
    Status.OK: _own("OK", "Answered"),
    Status.NO_TUMOR: _own("NO_TUMOR", "No tumour found"),
    Status.ABSTAIN: _own("ABSTAIN", "No answer: the model abstains"),
}
REASON = _own("REASON", "Why the model abstains")
TUMOR = _own("TUMOR", "Tumour")
IDH_STATUS = _own("IDH_STATUS", "Predicted IDH mutation status")
MUTANT = _own("IDH_MUTANT", "IDH mutant more likely")
WILDTYPE = _own("IDH_WILDTYPE", "IDH wildtype more likely")
PROBABILITY = _own("IDH_PROBABILITY", "Probability of IDH mutation")
UNCERTAINTY = _own("UNCERTAINTY", "Disagreement of the networks")
DISTANCE = _own("OOD_DISTANCE", "Distance to the training patients")
MILLILITRE = CodedConcept("ml", "UCUM", "ml")

DIAMETERS = {
    "Maximum3DDiameter": codes.IBSI.Maximum3DDiameterOfAMesh,
    "MajorAxisLength": codes.IBSI.MajorAxisIn3DLength,
    "MinorAxisLength": codes.IBSI.MinorAxisIn3DLength,
    "LeastAxisLength": codes.IBSI.LeastAxisIn3DLength,
    "Maximum2DDiameterSlice": _own("MAX_2D_AXIAL", "Maximum 2D diameter in an axial slice"),
}
"""Name of a feature in mm -> concept."""


def scheme_identification() -> Dataset:
    """Item of CodingSchemeIdentificationSequence that says whose our scheme is."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "glioflow"
    item.CodingSchemeResponsibleOrganization = "glioflow"
    return item
