"""The bill of materials of a release: CycloneDX 1.6, with the model's card (ML-BOM)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.files import read_json
from components.core.vocabulary import DEVELOPMENT, Model, Origin
from components.registry.attestation.statements import cohort_splits
from components.registry.run_artifacts import RunArtifacts
from components.registry.tracking.environment import packages
from components.registry.tracking.step_records import find_plan, flat_text

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, ComponentType

MODEL_REF = "model"
NOT_STATED = "not stated"

CONSIDERATIONS: dict[str, Any] = {
    "users": ["Researchers in neuro-oncology and radiology"],
    "useCases": [
        "P(IDH mutant) of a newly diagnosed glioma in an adult, from preoperative MRI and age"
    ],
    "technicalLimitations": [
        "Predictions hold for images like the training images; others are answered abstain",
        "Children, recurrent or treated tumours, and other brain lesions were not seen",
    ],
    "ethicalConsiderations": [{"name": "Research use only: not a medical device"}],
}


@dataclass(frozen=True)
class _Material:
    """Something that the model was made of, as a component of the bill."""

    reference: str
    kind: ComponentType
    name: str
    version: str
    licence: str
    sha256: str
    properties: dict[str, str]


def bill_of_materials(
    artifacts: RunArtifacts,
    digests: dict[str, str],
    rows: list[dict[str, str]],
    metrics: dict[str, Any],
    licences: dict[str, str],
) -> str:
    """CycloneDX 1.6 as JSON: the model, its datasets and networks, and the packages.

    The library writes all but `modelCard`, which it has no classes for yet.

    Args:
        digests: name -> sha256 of every file that the run handed over.
        rows: of the public manifest.
        metrics: test set -> headline figures, as in evaluation.json.
        licences: cohort -> its licence or terms of use.
    """
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    release = artifacts.release()
    datasets = list(_datasets(artifacts, digests, rows, licences))
    materials = [_component(m) for m in (*datasets, *_parts(artifacts, digests))]
    materials += [
        Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"pkg:{name}",
            purl=PackageURL("pypi", None, name.lower(), version),
        )
        for name, version in packages().items()
    ]
    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name="glioma-idh",
        version=release.release,
        bom_ref=MODEL_REF,
        description=CONSIDERATIONS["useCases"][0],
        properties=[Property(name="glioflow:trained_on", value=release.trained_on.value)],
    )
    # The same release has the same number, whoever writes its bill.
    bom = Bom(components=materials, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, release.release))
    bom.metadata.component = model
    bom.register_dependency(model, materials)
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    # The same run has the same bill, whenever it is published.
    del content["metadata"]["timestamp"]
    content["metadata"]["component"]["modelCard"] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "segmentation and classification",
            "architectureFamily": "convolutional neural network",
            "modelArchitecture": "3-D U-Net; ResNet on five slices joined with shape and loci",
            "datasets": [{"ref": dataset.reference} for dataset in datasets],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(metrics))},
        "considerations": CONSIDERATIONS,
        "properties": [
            {"name": f"glioflow:settings:{name}", "value": value}
            for name, value in flat_text(artifacts.info.settings).items()
        ],
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _datasets(
    artifacts: RunArtifacts,
    digests: dict[str, str],
    rows: list[dict[str, str]],
    licences: dict[str, str],
) -> Iterator[_Material]:
    from cyclonedx.model.component import ComponentType

    phantoms = artifacts.release().trained_on is Origin.PHANTOMS
    accepted = digests["validated/accepted.csv"]
    for cohort, split in cohort_splits(rows).items():
        licence = licences.get(cohort) or ("Apache-2.0" if phantoms else NOT_STATED)
        facts = {
            "role": "development" if cohort == DEVELOPMENT else "external test",
            "patients": str(sum(split.values())),
            **{f"patients:{subset}": str(count) for subset, count in sorted(split.items())},
        }
        reference = f"data:{cohort}"
        yield _Material(reference, ComponentType.DATA, cohort, "", licence, accepted, facts)


def _parts(artifacts: RunArtifacts, digests: dict[str, str]) -> Iterator[_Material]:
    """The exported networks, and what the preprocessing plan names: atlas and brain network."""
    from cyclonedx.model.component import ComponentType

    network, release = ComponentType.MACHINE_LEARNING_MODEL, artifacts.release()
    for name, sha256 in release.files.items():
        if name.endswith(".onnx"):
            yield _Material(f"file:{name}", network, name, release.release, "", sha256, {})
    found = find_plan(artifacts)
    plan = read_json(found) if found else {}
    if atlas := plan.get("atlas"):
        yield _Material(
            "data:atlas", ComponentType.DATA, atlas["source"], "", atlas["licence"],
            atlas["sha256"], {},
        )  # fmt: skip
    if brain := plan.get("brain_network"):
        yield _Material(
            "network:brain", network, brain["name"], brain["version"], brain["licence"],
            brain["brain_sha256"], {"box_sha256": brain["box_sha256"]},
        )  # fmt: skip


def _component(material: _Material) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import DisjunctiveLicense

    licences = [DisjunctiveLicense(name=material.licence)] if material.licence else []
    return Component(
        type=material.kind,
        name=material.name,
        version=material.version or None,
        bom_ref=material.reference,
        licenses=licences,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=material.sha256)],
        properties=[
            Property(name=f"glioflow:{name}", value=value)
            for name, value in material.properties.items()
        ],
    )


def _metrics(sets: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Dice of each test set, and each model's accuracy and areas with their intervals."""
    for name, block in sets.items():
        dice = (block.get("dice") or {}).get("mean")
        if dice is not None:
            yield {"type": "Dice", "value": str(dice), "slice": name}
        for model in (m.value for m in Model if m.value in block):
            for kind in ("accuracy", "auroc", "auprc"):
                found = block[model].get(kind)
                area = found if isinstance(found, dict) else {"value": found}
                if area.get("value") is None:
                    continue
                metric = {"type": kind, "value": str(area["value"]), "slice": f"{name}, {model}"}
                if area.get("low") is not None and area.get("high") is not None:
                    limits = {"lowerBound": str(area["low"]), "upperBound": str(area["high"])}
                    metric["confidenceInterval"] = limits  # type: ignore[assignment]
                yield metric
