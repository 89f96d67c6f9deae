"""The command line: bad input to every command is one line and exit code 2; nothing is left."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from pipelines import cli

ROW = {
    "patient_id": "p1",
    "site": "here",
    "t1c": "t1c.nii.gz",
    "t2": "t2.nii.gz",
    "flair": "flair.nii.gz",
    "age": "50",
    "idh": "1",
}


class Desk:
    """A folder with every kind of bad file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        for name in ("t1c", "t2", "flair"):
            self._image(f"{name}.nii.gz", rng.random((12, 13, 14)).astype(np.float32))
        self._image("4d.nii.gz", rng.random((3, 12, 13, 14)).astype(np.float32))
        self._image("empty.nii.gz", np.zeros((12, 13, 14), np.uint8))
        self._image("nan.nii.gz", np.full((8, 9, 10), np.nan, np.float32))
        (root / "text.nii.gz").write_text("no image at all")
        self.manifest("good.csv", ROW)
        self.manifest("no_age_column.csv", {k: v for k, v in ROW.items() if k != "age"})
        misspelt = {("pateint_id" if k == "patient_id" else k): v for k, v in ROW.items()}
        self.manifest("misspelt.csv", misspelt)
        (root / "no_rows.csv").write_text(",".join(ROW) + "\n")
        (root / "binary.csv").write_bytes(bytes(range(256)))
        (root / "predictions.csv").write_text("patient_id,idh,probability\na,1,0.7\nb,0,1.7\n")
        (root / "no_probability.csv").write_text("patient_id,idh,probabilty\na,1,0.7\nb,0,0.2\n")
        (root / "profile.yaml").write_text("description: x\nsegment: {widht: 3}\n")
        (root / "broken.yaml").write_text("a: [1, 2\n")

    def _image(self, name: str, array: np.ndarray) -> None:
        image = (
            sitk.JoinSeries([sitk.GetImageFromArray(a) for a in array])
            if array.ndim == 4
            else sitk.GetImageFromArray(array)
        )
        image.SetSpacing([9.0] * image.GetDimension())
        sitk.WriteImage(image, str(self.root / name))

    def manifest(self, name: str, row: dict[str, str]) -> None:
        with (self.root / name).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
            writer.writerow(row)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    root = tmp_path / "desk"
    root.mkdir()
    monkeypatch.chdir(root)
    return Desk(root)


PREDICT = "predict --t1c t1c.nii.gz --t2 t2.nii.gz --flair flair.nii.gz --out out --age"
DEAD = "--server localhost:9"

BAD = {
    "unknown site": ("phantom --site mayo --patients 2 --out out", ["mayo", "severance"]),
    "no patients": ("phantom --site snuh --patients 0 --out out", ["--patients"]),
    "validate: no such manifest": ("validate gone.csv --out out", ["gone.csv", "CSV"]),
    "validate: missing column": ("validate no_age_column.csv --out out", ["age"]),
    "validate: misspelt column": (
        "validate misspelt.csv --out out",
        ["pateint_id", "patient_id"],
    ),
    "validate: no rows": ("validate no_rows.csv --out out", ["no_rows.csv", "no rows"]),
    "validate: binary": ("validate binary.csv --out out", ["binary.csv"]),
    "validate: unknown profile": (
        "validate good.csv --profile dmeo --out out",
        ["dmeo", "demo"],
    ),
    "preprocess: no such manifest": ("preprocess gone.csv --out out", ["gone.csv"]),
    "preprocess: misspelt column": ("preprocess misspelt.csv --out out", ["pateint_id"]),
    "features: no such mask": ("features --mask gone.nii.gz", ["gone.nii.gz"]),
    "features: not an image": ("features --mask text.nii.gz", ["text.nii.gz"]),
    "features: 4-D": ("features --mask 4d.nii.gz", ["4d.nii.gz", "4-D"]),
    "features: empty mask": ("features --mask empty.nii.gz", ["empty.nii.gz"]),
    "features: age": ("features --mask t1c.nii.gz --age abc", ["--age"]),
    "evaluate: no such file": ("evaluate gone.csv", ["gone.csv"]),
    "evaluate: misspelt column": ("evaluate no_probability.csv", ["probability"]),
    "evaluate: probability above 1": ("evaluate predictions.csv", ["predictions.csv", "1.7"]),
    "compare-cohorts: one": ("compare-cohorts good.csv", ["compare"]),
    "compare-cohorts: gone": ("compare-cohorts good.csv gone.csv", ["gone.csv"]),
    "run: unknown profile": ("run --profile dmeo --out out", ["dmeo", "demo"]),
    "run: misspelt key": ("run --profile profile.yaml --out out", ["segment.widht"]),
    "run: not YAML": ("run --profile broken.yaml --out out", ["broken.yaml"]),
    "run: not NAME=MANIFEST": ("run --profile demo --cohort x.csv --out out", ["x.csv"]),
    "run: no development": (
        "run --profile demo --cohort snuh=good.csv --out out",
        ["development"],
    ),
    "run: gone": ("run --profile demo --cohort development=gone.csv --out out", ["gone.csv"]),
    "run: misspelt column": (
        "run --profile demo --cohort development=misspelt.csv --out out",
        ["pateint_id"],
    ),
    "run: reserved name": (
        "run --profile demo --cohort development=good.csv --cohort internal=good.csv --out out",
        ["internal"],
    ),
    "compile: unknown profile": ("compile --profile dmeo --out out", ["dmeo"]),
    # docker/compose#3270, kubeflow/pipelines#3866. Nobody may write there, root neither.
    "compile: no right to write": ("compile --profile demo --out /sys/pipeline.yaml", ["/sys/"]),
    "serve: no right to write": ("serve --store /sys/store", ["/sys/store"]),
    "fetch-release: no right to write": ("fetch-release . --store /sys/store", ["/sys/store"]),
    "submit: nobody there": (
        "submit --profile demo --host http://localhost:9",
        ["localhost:9"],
    ),
    "schedule: bad cron": (
        "schedule --profile demo --host http://localhost:9 --cron daily",
        ["daily"],
    ),
    "serve: nothing named": ("serve", ["--run", "--model"]),
    "serve: no release": ("serve --run gone", ["gone"]),
    "bench: no release": ("bench --run gone", ["gone"]),
    "predict: age abc": (f"{PREDICT} abc", ["--age"]),
    "predict: no server": (f"{PREDICT} 50 {DEAD}", ["localhost:9", "glioflow serve"]),
    "predict: server without port": (f"{PREDICT} 50 --server localhost", ["HOST:PORT"]),
    "audit: no store": (
        "audit glioma-idh@champion --tracking-uri sqlite:///gone/mlflow.db",
        ["gone"],
    ),
    "rollback: no store": ("rollback --tracking-uri sqlite:///gone/mlflow.db", ["gone"]),
    "publish: nothing kept": ("publish --resume gone", ["gone"]),
    "promote: no reason": (
        "promote glioma-idh/1 --approve me --tracking-uri sqlite:///gone/mlflow.db",
        ["--approve", "me"],
    ),
    "ingest: gone": ("ingest gone --out out", ["gone"]),
    "adapt: unknown release": (
        "adapt ucsf . --table good.csv --out out",
        ["ucsf", "ucsf-pdgm"],
    ),
    "validate: no such bucket": ("validate s3:// --out out", ["s3://BUCKET/KEY"]),
    "unknown command": ("trian", ["trian"]),
    "unknown option": ("run --profle demo", ["--profle"]),
    "missing option": ("run --profile demo", ["--out"]),
}


@pytest.mark.parametrize(("line", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_leaves_nothing(
    desk: Desk, capsys: pytest.CaptureFixture[str], line: str, named: list[str]
) -> None:
    before = sorted(desk.root.rglob("*"))
    code = cli.run(line.split())
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    lines = [text for text in said.err.splitlines() if text.startswith("glioflow: ")]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    for name in named:
        assert name in lines[0]
    assert sorted(desk.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("gone.nii.gz", "no such image"),
        ("text.nii.gz", "not a readable image"),
        ("4d.nii.gz", "4-D"),
        ("nan.nii.gz", "NaN"),
        ("empty.nii.gz", "same value"),
    ],
)
def test_predict_names_the_bad_image(desk: Desk, file: str, said: str) -> None:
    """Before any server is asked: what the release expects is taken from a release on disk."""
    from components.core.errors import BadInput
    from components.preprocess.cohort import prepare_patient
    from components.preprocess.plan import make_plan
    from components.preprocess.settings import PreprocessSettings
    from serving.predict import PatientFiles

    files = PatientFiles(
        t1c=Path("t1c.nii.gz"), t2=Path("t2.nii.gz"), flair=desk.root / file, age=50.0
    )

    class _Contents:
        plan = make_plan(PreprocessSettings(grid=16, working_mm=4.0))

    with pytest.raises(BadInput, match=file) as refused:
        prepare_patient(
            files.as_patient(_Contents()),  # type: ignore[arg-type]
            _Contents.plan,
            subset="prediction",
            fold=None,
            cache=None,
        )
    assert said in str(refused.value)
    assert refused.value.remedy


def test_help_is_quick_and_names_every_command() -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "--help"], capture_output=True, text=True
    )
    assert time.perf_counter() - start < 10
    assert done.returncode == 0
    for command in ("run", "predict", "serve", "audit", "evaluate", "validate", "phantom"):
        assert f" {command} " in done.stdout


def test_heavy_packages_wait_until_they_are_needed() -> None:
    code = (
        "import sys, pipelines.cli; "
        "print([m for m in ('torch', 'mlflow', 'sklearn', 'kfp', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_features_of_a_mask_are_printed_as_json(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    array = np.zeros((20, 20, 20), np.uint8)
    array[5:12, 6:12, 7:15] = 1
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "box.nii.gz"))
    assert cli.run(["features", "--mask", str(tmp_path / "box.nii.gz"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert len(values) == 24
    assert values["VoxelVolume"] == 7 * 6 * 8
    assert values["Frontal Lobe"] is None
    assert values["age"] is None


def test_compile_writes_a_pipeline(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compile", "--profile", "demo", "--out", "pipeline.yaml"]) == 0
    assert (desk.root / "pipeline.yaml").read_text().startswith("# PIPELINE DEFINITION")


def test_our_own_fault_is_exit_one_with_a_traceback(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import components.features.single_mask as features_mask

    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(features_mask, "features_of_mask", fails)
    assert cli.run(["features", "--mask", "t1c.nii.gz"]) == 1
    assert any(record.exc_info for record in caplog.records)
