"""A small but real run folder: tensors in safetensors, ONNX, CSVs with a known signal."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np

from components.core.files import sha256_file, sha256_tree, write_json
from components.core.vocabulary import FEATURE_NAMES
from components.registry.run_artifacts import RunArtifacts, RunInfo

SETS = {"internal": 60, "snuh": 60}


def fabricate(
    root: Path,
    *,
    seed: int = 0,
    trained_on: str = "patients",
    skill: float = 2.5,
    weights_seed: int | None = None,
    sets: dict[str, int] | None = None,
) -> RunArtifacts:
    """Write every folder a run hands to publish. `skill`: how far apart the hybrid's classes lie.

    Patients, truth and the age model depend on nothing but their numbers, so that two fabricated
    runs share their test patients.
    """
    root.mkdir(parents=True, exist_ok=True)
    sets = sets or SETS
    patients = _patients(sets)
    _validated(root / "validated", patients)
    _samples(root / "samples", patients)
    _segmenter(root / "segmenter", trained_on, seed if weights_seed is None else weights_seed)
    _classifier(root / "classifier", trained_on, seed if weights_seed is None else weights_seed)
    _predictions(root / "predictions.csv", patients, skill, seed)
    _evaluation(root / "evaluation", root / "predictions.csv")
    _repository(root / "repository", root, trained_on)
    return RunArtifacts(
        validated=root / "validated",
        segmenter=root / "segmenter",
        samples=root / "samples",
        classifier=root / "classifier",
        predictions=root / "predictions.csv",
        evaluation=root / "evaluation",
        repository=root / "repository",
        code_version="f" * 64,
        info=RunInfo(profile="test", kfp_run_id="run-1", actor="tester", seeds={"split": 1}),
    )


def seal(repository: Path, **fields: str) -> None:
    """(Re)write release.json over the files of a repository, as export does."""
    (repository / "release.json").unlink(missing_ok=True)
    files = sha256_tree(repository)
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    content = {
        "release": f"glioma-idh-{digest[:12]}",
        "profile": "test",
        "settings": {},
        "parity": {},
        "research_use_only": True,
        "files": files,
        **fields,
    }
    write_json(repository / "release.json", content)


def _patients(sets: dict[str, int]) -> list[dict[str, str]]:
    rng = np.random.default_rng(1)
    rows = []
    for subset, count in {"training": 40, "tuning": 10, **sets}.items():
        for index in range(count):
            idh = int(index % 2)
            development = subset in ("training", "tuning", "internal")
            rows.append(
                {
                    "patient_id": f"{subset[:2].upper()}-{index:03d}",
                    "site": "severance" if development else subset,
                    "cohort": "development" if development else subset,
                    "subset": subset,
                    "fold": "",
                    "age": f"{np.clip(rng.normal(50 if idh else 56, 12), 18, 90):.1f}",
                    "sex": "MF"[int(rng.integers(2))],
                    "idh": str(idh),
                    "grade": "4" if not idh else "3",
                    "origin": "patients",
                }
            )
    return rows


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _validated(folder: Path, patients: list[dict[str, str]]) -> None:
    rows = []
    for patient in patients:
        image = folder.parent / "images" / f"{patient['patient_id']}.nii.gz"
        image.parent.mkdir(exist_ok=True)
        image.write_bytes(f"image of {patient['patient_id']}".encode())
        rows.append({**patient, "t1c": str(image), "flair": "", "surname": "Doe"})
    _write_csv(folder / "accepted.csv", rows)
    digests = [
        {"patient_id": r["patient_id"], "image": "t1c", "sha256": sha256_file(Path(r["t1c"]))}
        for r in rows
    ]
    _write_csv(folder / "images.csv", digests)
    _write_csv(folder / "quarantine.csv", [{"patient_id": "X-1", "reason": "no T1C"}])
    count = len(rows)
    content = {
        "patients": count + 1,
        "accepted": count,
        "quarantined": 1,
        "reasons": {"X-1": ["no T1C"]},
        "manifest_sha256": sha256_file(folder / "accepted.csv"),
        "accepted_sha256": sha256_file(folder / "accepted.csv"),
    }
    write_json(folder / "validation.json", content)
    (folder / "validation.html").write_text("<h1>Validation</h1>")


def _samples(folder: Path, patients: list[dict[str, str]]) -> None:
    rng = np.random.default_rng(2)
    rows = [
        {**patient, **{name: f"{rng.normal():.6f}" for name in FEATURE_NAMES if name != "age"}}
        for patient in patients
    ]
    _write_csv(folder / "features.csv", rows)
    (folder / "images").mkdir()
    np.save(folder / "images" / "TR-000.npy", np.zeros((5, 3, 4, 4), np.float32))


def _weights(path: Path, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    save_file({"conv.weight": torch.randn(4, 2, 3, 3, generator=generator)}, str(path))


def _curves(path: Path) -> None:
    rows = [
        {"member": member, "epoch": epoch, "loss": 1.0 / (epoch + 1 + member)}
        for member in range(2)
        for epoch in range(5)
    ]
    _write_csv(path, rows)


def _segmenter(folder: Path, trained_on: str, seed: int) -> None:
    folder.mkdir()
    content = {"inputs": ["t1c", "flair"], "threshold": 0.5, "plan": "0" * 64}
    content |= {"trained_on": trained_on, "tuning_dice": 0.91, "training": {"seed": seed}}
    write_json(folder / "model.json", content)
    write_json(folder / "plan.json", {"working_mm": 1.0, "grid": 128, "sequences": ["t1c"]})
    _weights(folder / "member_0.safetensors", seed)
    _curves(folder / "curves.csv")


def _classifier(folder: Path, trained_on: str, seed: int) -> None:
    folder.mkdir()
    content = {"channels": ["t1c", "t2"], "trained_on": trained_on, "temperature": 1.1}
    write_json(folder / "model.json", content)
    write_json(folder / "age.json", {"slope": -0.1})
    _weights(folder / "hybrid_0.safetensors", seed + 1)
    _curves(folder / "curves.csv")


def _predictions(path: Path, patients: list[dict[str, str]], skill: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for patient in patients:
        if patient["subset"] in ("training", "tuning"):
            continue
        idh, age = int(patient["idh"]), float(patient["age"])
        # Two unit normals `d` apart: d times the position is the exact log odds.
        logits = {
            name: d * (d * (idh - 0.5) + rng.normal())
            for name, d in {"hybrid": skill, "resnet": 0.6 * skill}.items()
        }
        logits["age"] = (53 - age) / 24
        common = {k: patient[k] for k in ("patient_id", "cohort", "subset", "site", "idh", "age")}
        common |= {"sex": patient["sex"], "grade": patient["grade"]}
        for model, logit in logits.items():
            probability = 1 / (1 + np.exp(-logit))
            row = {**common, "model": model, "slice": "", "probability": f"{probability:.6f}"}
            dice = f"{0.9 + 0.01 * np.sin(age):.4f}"
            rows.append({**row, "uncertainty": "0.1", "ood": "0", "status": "ok", "dice": dice})
            for index in range(2):
                rows.append({**rows[-1 - index], "slice": str(index)})
    _write_csv(path, rows)


def _evaluation(folder: Path, predictions: Path) -> None:
    from components.registry.gate.evidence import headline, read_run_predictions

    folder.mkdir()
    sets = headline(read_run_predictions(predictions))
    for block in sets.values():
        for model in ("hybrid", "resnet", "age"):
            for area in ("auroc", "auprc"):
                value = block[model][area]
                block[model][area] = {"value": value, "low": value - 0.05, "high": value + 0.04}
    write_json(folder / "evaluation.json", {"sets": sets})
    (folder / "report.html").write_text("<h1>Report</h1>")
    (folder / "model_card.md").write_text("# Model card\nResearch use only.\n")


def _repository(folder: Path, root: Path, trained_on: str) -> None:
    for name in ("segmenter", "classifier"):
        version = folder / name / "1"
        version.mkdir(parents=True)
        _onnx(version / "model.onnx", (root / name / "model.json").read_bytes())
        (folder / name / "config.pbtxt").write_text(f'name: "{name}"\nmax_batch_size: 0\n')
    write_json(folder / "plan.json", {"working_mm": 1.0, "grid": 128, "sequences": ["t1c"]})
    seal(folder, trained_on=trained_on, plan="0" * 64)


def _onnx(path: Path, salt: bytes) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = int.from_bytes(hashlib.sha256(salt).digest()[:3], "big") / 2**24
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [value])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [tensor])
    onnx.save(helper.make_model(graph), str(path))
