"""The measurement report: one answer as a Comprehensive 3D SR by TID 1500."""

from __future__ import annotations

from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from components.cohort.dicom.objects.source_series import MAKER, SourceSeries, derived_uid
from components.core.vocabulary import Status
from components.release.prediction import Prediction
from serving.pacs import codes as own

SERIES_NUMBER = 901
SERIES_DESCRIPTION = "glioflow report: research use only"


def measurement_report(
    source: SourceSeries, prediction: Prediction, segmentation: Dataset | None, answer_uid: str
) -> Comprehensive3DSR:
    """Say an answer in codes and numbers.

    Of a tumour the group is volumetric (TID 1411) and refers to the segment; of no tumour it says
    so; an abstention gives its reasons and no number.

    Args:
        source: the T1C.
        segmentation: the tumour, if one was found.
        answer_uid: as of `serving.pacs.answer`; the report's UIDs are derived from it.
    """
    evidence = [*source.headers, *([segmentation] if segmentation is not None else [])]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(prediction)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(source, prediction, segmentation, answer_uid)],
    )
    made = Comprehensive3DSR(
        evidence=evidence,
        content=content,
        series_instance_uid=derived_uid("report series", answer_uid),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("report", answer_uid),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        series_description=SERIES_DESCRIPTION,
    )
    made.ManufacturerModelName = MAKER
    made.SoftwareVersions = made.DeviceSerialNumber = prediction.release
    made.CodingSchemeIdentificationSequence = [own.scheme_identification()]
    return made


def device_uid(release: str) -> str:
    """UID of a release as the device that observed."""
    return derived_uid("device", release)


def _observer(prediction: Prediction) -> ObserverContext:
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(prediction.release),
            name=MAKER,
            manufacturer_name=MAKER,
            model_name=MAKER,
            serial_number=prediction.release,
        ),
    )


def _group(
    source: SourceSeries, prediction: Prediction, segmentation: Dataset | None, answer_uid: str
) -> Any:
    common: dict[str, Any] = {
        "finding_type": codes.SCT.Neoplasm,
        "finding_category": codes.SCT.MorphologicallyAbnormalStructure,
        "finding_sites": [FindingSite(anatomic_location=codes.SCT.Brain)],
        "algorithm_id": _algorithm(prediction),
        "qualitative_evaluations": _evaluations(prediction),
    }
    group: Any
    if prediction.status is Status.OK and segmentation is not None:
        segment = segmentation.SegmentSequence[0]
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
            referenced_segment=_referenced(segmentation, source),
            measurements=_measurements(prediction),
            **common,
        )
    else:
        images = [SourceImageForMeasurementGroup.from_source_image(h) for h in source.headers]
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(derived_uid("finding", answer_uid), "tumour"),
            source_images=images,
            **common,
        )
    group[0].ContentSequence.extend(_texts(prediction))
    return group


def _referenced(segmentation: Dataset, source: SourceSeries) -> ReferencedSegment:
    return ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=1,
        source_series=SourceSeriesForSegmentation(source.headers[0].SeriesInstanceUID),
    )


def _algorithm(prediction: Prediction) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=MAKER,
        version=prediction.release,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MAKER,
        parameters=[
            f"profile {prediction.profile}",
            f"trained on {prediction.trained_on}",
            f"preprocessing plan {prediction.preprocessing.plan}",
        ],
    )


def _measurements(prediction: Prediction) -> list[Measurement]:
    features = prediction.features or {}
    wanted = [
        (codes.SCT.Volume, prediction.tumor_volume_ml, own.MILLILITRE),
        *((c, features.get(name), codes.UCUM.Millimeter) for name, c in own.DIAMETERS.items()),
        (own.PROBABILITY, prediction.probability_idh_mutant, codes.UCUM.NoUnits),
        (own.UNCERTAINTY, prediction.uncertainty, codes.UCUM.NoUnits),
        (own.DISTANCE, prediction.ood, codes.UCUM.NoUnits),
    ]
    return [Measurement(name, value, unit) for name, value, unit in wanted if value is not None]


def _evaluations(prediction: Prediction) -> list[QualitativeEvaluation]:
    found = [QualitativeEvaluation(own.STATUS, own.STATUS_VALUES[prediction.status])]
    if prediction.status is Status.NO_TUMOR:
        found.append(QualitativeEvaluation(own.TUMOR, codes.SCT.Absent))
    if prediction.status is Status.OK and prediction.probability_idh_mutant is not None:
        likely = own.MUTANT if prediction.probability_idh_mutant >= 0.5 else own.WILDTYPE
        found.append(QualitativeEvaluation(own.TUMOR, codes.SCT.Present))
        found.append(QualitativeEvaluation(own.IDH_STATUS, likely))
    return found


def _texts(prediction: Prediction) -> list[TextContentItem]:
    """The intended use and every warning; of an abstention, what it abstains for."""
    reasons = prediction.status is Status.ABSTAIN
    said = [(codes.DCM.Comment, prediction.intended_use)]
    said += [(own.REASON if reasons else codes.DCM.Comment, each) for each in prediction.warnings]
    contains = RelationshipTypeValues.CONTAINS
    return [TextContentItem(name=n, value=text, relationship_type=contains) for n, text in said]
