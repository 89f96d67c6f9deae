"""What other steps and commands found out about a run, for the report to show beside its figures.

Files are read, not code: nothing here knows how a forest or a network is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.errors import BadInput
from components.core.files import read_json
from components.core.vocabulary import DEVELOPMENT, FEATURE_NAMES, SALIENCY_PARTS
from components.evaluate.statistics.performance import without_nan
from components.evaluate.statistics.segmentation import summary

if TYPE_CHECKING:
    import pandas as pd

AREA = "area"
_REMEDY = "train the classifiers again"


@dataclass(frozen=True)
class Supplements:
    """Where to look; None where there is nothing.

    Attributes:
        classifier: its model folder: importance of the features, where the hybrid looks.
        manifest: validated manifest, whose further columns (scanner, field strength) make
            subgroups.
        ablations, robustness: JSON files of `glioflow ablate` and `glioflow robustness`.
    """

    classifier: Path | None = None
    manifest: Path | None = None
    ablations: Path | None = None
    robustness: Path | None = None

    @property
    def saliency(self) -> Path | None:
        """Folder of saliency maps by patient."""
        return None if self.classifier is None else self.classifier / "saliency"

    def read(self, people: pd.DataFrame | None, sets: Iterable[str]) -> dict[str, Any]:
        """Keys "importance", "saliency", "ablations" and "robustness", None where unknown.

        Raises BadInput: a file is not what it should be.
        """
        robustness = _json(self.robustness)
        if robustness is not None and "degradations" not in robustness:
            raise BadInput(self.robustness, "no degradations", "run `glioflow robustness` again")
        return without_nan(
            {
                "importance": feature_block(self.classifier, people),
                "saliency": saliency_block(self.classifier, list(sets)),
                "ablations": _json(self.ablations),
                "robustness": robustness,
            }
        )


NO_SUPPLEMENTS = Supplements()


def feature_block(
    classifier: Path | None, people: pd.DataFrame | None
) -> list[dict[str, Any]] | None:
    """Every numeric feature: what the forest loses without it, and its values by IDH status.

    Rows by falling importance: "feature", "importance" {"mean", "sd"} (fall of the AUROC on
    held-out patients when the feature is shuffled between them; mean over the members of a
    cross-validation, None where no member kept the feature), "p" of the selection's t-test (median
    over members), "kept" (members that kept it), "members", and mean and SD of "mutant" and
    "wildtype" development patients.
    """
    path = None if classifier is None else classifier / "forest.json"
    if classifier is None or path is None or not path.is_file():
        return None
    try:
        falls = [one for one in read_json(path)["permutation_importance"] if one]
        members = [m["features"] for m in read_json(classifier / "model.json")["members"]]
        rows = [_feature(name, falls, members, people) for name in FEATURE_NAMES]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(classifier, f"not a classifier's folder ({error})", _REMEDY) from None
    return sorted(rows, key=lambda row: -(row["importance"]["mean"] if row["importance"] else -9.0))


def _feature(
    name: str,
    falls: list[dict[str, Any]],
    members: list[dict[str, Any]],
    people: pd.DataFrame | None,
) -> dict[str, Any]:
    found = [fall[name] for fall in falls if name in fall]
    importance = None
    if found:
        spread = math.sqrt(float(np.mean([one["sd"] ** 2 for one in found])))
        importance = {"mean": float(np.mean([one["mean"] for one in found])), "sd": spread}
    return {
        "feature": name,
        "importance": importance,
        "p": float(np.median([member["p_values"][name] for member in members])),
        "kept": sum(name in member["kept"] for member in members),
        "members": len(members),
        "mutant": _values(people, name, 1),
        "wildtype": _values(people, name, 0),
    }


def _values(people: pd.DataFrame | None, name: str, idh: int) -> dict[str, Any] | None:
    if people is None or name not in people:
        return None
    rows = people[(people["cohort"] == DEVELOPMENT) & (people["idh"] == idh)]
    return summary(rows[name].to_numpy(dtype=float))


def saliency_block(classifier: Path | None, sets: list[str]) -> dict[str, Any] | None:
    """Set -> {"patients", sequence or "area" -> {part: mean share}}, None where not explained."""
    import pandas as pd

    path = None if classifier is None else classifier / "saliency.csv"
    if path is None or not path.is_file():
        return None
    try:
        table = pd.read_csv(path)
        ending = f"_{SALIENCY_PARTS[0]}"
        what = [str(c).removesuffix(ending) for c in table.columns if str(c).endswith(ending)]
        found = {}
        for name, rows in table.groupby("subset", sort=True):
            if name in sets:
                shares = {
                    one: {part: float(rows[f"{one}_{part}"].mean()) for part in SALIENCY_PARTS}
                    for one in what
                }
                found[str(name)] = {"patients": len(rows), **shares}
    except (ValueError, KeyError) as error:
        raise BadInput(path, f"not a table of saliency ({error})", _REMEDY) from None
    return found or None


def _json(path: Path | None) -> Any:
    if path is None or not path.is_file():
        return None
    try:
        return read_json(path)
    except ValueError as error:
        raise BadInput(path, f"not JSON ({error})", "run the command that wrote it again") from None
