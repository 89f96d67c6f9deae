"""Champion and challenger on the same patients: the union of the test sets of both.

A champion keeps the predictions of its own test sets. A later run brings test patients that the
champion never saw: those it is asked about here, as it was published, from their images. Patients
that one of the two learnt from are compared by neither.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.cohort.manifest import read_table
from components.core.errors import BadInput, Outage
from components.core.files import read_json, sha256_file, sha256_tree
from components.core.progress import Progress, silent
from components.core.tables import read_csv
from components.core.vocabulary import LEARNT, Model, Origin, Sequence
from components.registry import names
from components.registry.gate.evidence import read_run_predictions
from components.registry.ledger import Entry, Ledger
from components.registry.names import RegisteredModel
from components.registry.run_artifacts import RunArtifacts
from components.registry.tracking.model_versions import download_model
from components.registry.tracking.store import TrackingStore

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Ask = Callable[[dict[str, Any]], float | None]
"""A manifest row with absolute paths -> P(IDH mutant), None where the model gives none."""

CHAMPION_LEARNT = "the champion learnt from it"
NOT_GIVEN = "not in this run's test sets"


@dataclass(frozen=True)
class Champion:
    """The release that is champion now, and its patient-level predictions.

    Attributes:
        predictions: those stored in its run, and those it was asked for.
        asked: test patients of the challenger that it was asked about.
        left_out: patient of the union -> why the two cannot be compared on it.
        spoilt: its test patients that the challenger learnt from.
    """

    release: str
    version: str
    trained_on: str
    predictions: pd.DataFrame
    asked: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    spoilt: tuple[str, ...] = ()


def meet_champion(
    store: TrackingStore,
    ledger: Ledger,
    artifacts: RunArtifacts,
    rows: list[dict[str, str]],
    scratch: Path,
    *,
    ask: bool,
    progress: Progress = silent,
) -> Champion | None:
    """The champion, asked about every test patient of a run that it knows nothing of.

    Args:
        rows: the run's public manifest.
        ask: False compares on stored predictions alone; the other patients are left out.

    Raises:
        BadInput: the champion's files are not those that were published.
    """
    version = ledger.champion
    if not version:
        return None
    entry = ledger.registration(RegisteredModel.RELEASE, version)
    if entry is None:
        raise RuntimeError(f"the ledger names champion {version} but not its registration")
    scratch.mkdir(parents=True, exist_ok=True)
    stored = read_run_predictions(_artifact(store, entry, "predictions.csv", scratch))
    champion = Champion(entry.details["release"], version, entry.details["trained_on"], stored)
    if {champion.trained_on, artifacts.release().trained_on.value} != {Origin.PATIENTS.value}:
        return champion
    manifest = read_csv(_artifact(store, entry, names.MANIFEST_FILE, scratch))
    table = read_run_predictions(artifacts.predictions)
    mine = table[(table["model"] == Model.HYBRID.value) & table["idh"].notna()]
    new, left_out = _unknown(stored, mine, manifest, rows)
    tested = set(stored[stored["idh"].notna()]["patient_id"])
    spoilt = tuple(sorted(tested & learnt_from(rows)))
    for patient in sorted(tested - set(mine["patient_id"]) - set(spoilt)):
        left_out[patient] = NOT_GIVEN
    answers: dict[str, float] = {}
    if new and ask:
        answers, failed = _ask(_model(store, entry, scratch), artifacts, new, progress)
        left_out.update(failed)
    left_out.update(dict.fromkeys(new, "the champion was not asked") if not ask else {})
    return replace(
        champion,
        predictions=_with(stored, mine, answers),
        asked=tuple(sorted(answers)),
        left_out=dict(sorted(left_out.items())),
        spoilt=spoilt,
    )


def learnt_from(manifest: list[dict[str, str]]) -> set[str]:
    """Patients of a public manifest whose own prediction is no test: trained or tuned on.

    With folds everybody is predicted by a network that did not see him: nobody is.
    """
    return {r["patient_id"] for r in manifest if r.get("subset") in LEARNT and not r.get("fold")}


def _unknown(
    stored: pd.DataFrame,
    mine: pd.DataFrame,
    manifest: list[dict[str, str]],
    rows: list[dict[str, str]],
) -> tuple[list[str], dict[str, str]]:
    """Test patients the champion has no answer for: those to ask about, and those it knows."""
    new = sorted(set(mine["patient_id"]) - set(stored["patient_id"]))
    learnt = {row["patient_id"] for row in manifest if row.get("subset") in LEARNT}
    images = {d for row in manifest if row["patient_id"] in learnt for d in _digests(row)}
    known = {
        row["patient_id"] for row in rows if row["patient_id"] in learnt or _digests(row) & images
    }
    return [p for p in new if p not in known], {p: CHAMPION_LEARNT for p in new if p in known}


def _digests(row: dict[str, str]) -> set[str]:
    cells = (row.get(sequence.value, "") for sequence in Sequence)
    return {cell for cell in cells if cell.startswith("sha256:")}


def _ask(
    ask: Ask,
    artifacts: RunArtifacts,
    patients: list[str],
    progress: Progress,
) -> tuple[dict[str, float], dict[str, str]]:
    table = read_table(artifacts.validated / "accepted.csv")
    where = {row["patient_id"]: index for index, row in enumerate(table.rows)}
    answers: dict[str, float] = {}
    failed: dict[str, str] = {}
    for done, patient in enumerate(patients, start=1):
        if patient not in where:
            failed[patient] = "not in accepted.csv"
            continue
        row = table.rows[where[patient]]
        images = {s.value: table.location(where[patient], s.value) or "" for s in Sequence}
        age = float(row["age"]) if row.get("age") else float("nan")
        given = {"patient_id": patient, "site": row.get("site", ""), **images, "age": age}
        try:
            answer = ask(given)
        except Outage:
            raise
        except BadInput as error:
            failed[patient] = f"the champion refuses it: {error.problem}"
            continue
        if answer is None:
            failed[patient] = "the champion gives no probability"
        else:
            answers[patient] = answer
        progress(done, len(patients), f"asking the champion about {patient}")
    return answers, failed


def _model(store: TrackingStore, entry: Entry, scratch: Path) -> Ask:
    """The champion as it was published; what was altered since is not run."""
    import mlflow.pyfunc
    import pandas as pd

    model = RegisteredModel.RELEASE.value
    number = entry.details["versions"][model]["version"]
    digests = _artifact(store, entry, names.DIGESTS_FILE, scratch)
    version = store.client.get_model_version(model, number)
    folder = download_model(store, version, scratch / "model")
    published = sha256_file(digests) == entry.details["sha256"][names.DIGESTS_FILE]
    if not published or sha256_tree(folder) != read_json(digests)["models"][model]["files"]:
        raise BadInput(
            f"{model}/{number}", "altered since it was published", "run `glioflow audit`"
        )
    loaded = mlflow.pyfunc.load_model(str(folder))

    def ask(row: dict[str, Any]) -> float | None:
        answer = loaded.predict(pd.DataFrame([row])).iloc[0]["probability_idh_mutant"]
        return None if answer is None or answer != answer else float(answer)

    return ask


def _with(stored: pd.DataFrame, mine: pd.DataFrame, answers: dict[str, float]) -> pd.DataFrame:
    import pandas as pd

    asked = mine[mine["patient_id"].isin(answers)].copy()
    asked["probability"] = asked["patient_id"].map(answers)
    return pd.concat([stored, asked], ignore_index=True) if answers else stored


def _artifact(store: TrackingStore, entry: Entry, name: str, scratch: Path) -> Path:
    run = entry.details["run_id"]
    return Path(store.client.download_artifacts(run, name, str(scratch)))
