"""What a profile may set about publishing: where to, how patiently, and the rules of the gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from components.core.settings import Settings
from components.core.vocabulary import Model
from components.registry.gate.verdict import person_and_reason

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ValidationPassed(Settings):
    """The validation step ran, and did not have to quarantine too many patients."""

    rule: Literal["validation_passed"] = "validation_passed"
    max_quarantined: Share = 0.2


class NoLeakage(Settings):
    """No patient, under the same or another name, is both learnt from and tested on."""

    rule: Literal["no_leakage"] = "no_leakage"


class TrainedOnPatients(Settings):
    """The model learnt from patients, not from phantoms. No approval overrides this rule."""

    rule: Literal["trained_on_patients"] = "trained_on_patients"


class DiceFloor(Settings):
    """Mean Dice of the segmenter on every test set that has manual masks."""

    rule: Literal["dice_floor"] = "dice_floor"
    minimum: Share = 0.8


class BetterThanAge(Settings):
    """The model beats age alone on every external set (paper: DeLong and binomial, P < 0.05).

    `tests` names which P-values must fall below `alpha`; with none, a higher AUROC is enough.
    Without an external set, the internal one is judged.
    """

    rule: Literal["better_than_age"] = "better_than_age"
    model: Model = Model.HYBRID
    tests: tuple[Literal["delong", "binomial"], ...] = ("delong", "binomial")
    alpha: Share = 0.05


class NonInferiorToChampion(Settings):
    """On the test patients of both, AUROC is not worse than the champion's by `margin`.

    The lower bound of the two-sided `confidence` interval of the difference (paired DeLong) must
    lie above -`margin`. At least `min_patients` and `min_share` of the union of both runs' test
    patients must be comparable, and no test patient of the champion may have been learnt from.
    """

    rule: Literal["non_inferior_to_champion"] = "non_inferior_to_champion"
    model: Model = Model.HYBRID
    margin: Share = 0.05
    confidence: Share = 0.95
    min_patients: int = Field(default=20, ge=4)
    min_share: Share = 0.8


class SubgroupGap(Settings):
    """Largest difference in accuracy between the groups of one attribute (sex, grade, age, site).

    Groups with fewer than `min_patients` are too small to be judged and are left out.
    """

    rule: Literal["subgroup_gap"] = "subgroup_gap"
    model: Model = Model.HYBRID
    attributes: tuple[Literal["sex", "grade", "site", "age_group"], ...] = ("sex", "age_group")
    ceiling: Share = 0.2
    min_patients: int = Field(default=10, ge=1)


class CalibrationCeiling(Settings):
    """Expected calibration error over ten equal-width bins, on every test set."""

    rule: Literal["calibration_ceiling"] = "calibration_ceiling"
    model: Model = Model.HYBRID
    ceiling: Share = 0.15


Rule = Annotated[
    ValidationPassed
    | NoLeakage
    | TrainedOnPatients
    | DiceFloor
    | BetterThanAge
    | NonInferiorToChampion
    | SubgroupGap
    | CalibrationCeiling,
    Field(discriminator="rule"),
]

DEFAULT_GATE: tuple[Rule, ...] = (
    ValidationPassed(),
    NoLeakage(),
    TrainedOnPatients(),
    DiceFloor(),
    BetterThanAge(),
    NonInferiorToChampion(),
    SubgroupGap(),
    CalibrationCeiling(),
)


class PublishSettings(Settings):
    """Settings of the publish room.

    Attributes:
        tracking_uri: MLflow server (http://...), or sqlite:///FILE; empty: the caller's default.
        artifact_root: where a store without a server keeps its files; empty: beside a SQLite
            database. With PostgreSQL: a place that all writers reach.
        experiment: MLflow experiment of the parent runs.
        gate: rules a release must pass before it becomes champion; their order is the report's.
        promote: "automatic" makes a release that passes the champion; "manual" makes it the
            challenger, and a person promotes it.
        approve: "name: reason" of a person who overrides refused rules; empty: nobody does. Where
            approvers are listed, it counts for nothing: see `promote`.
        attempts: how often an unreachable store is tried before the run is kept on disk.
        patience_s: seconds before the second attempt; each further wait is twice as long.
        max_file_mb: a file larger than this is refused.
        export: folder or s3:// prefix at which the champion's release is kept for servers to fetch;
            empty: nowhere.
        ask_champion: predict, with the champion, the test patients that it has not met, so that
            both are compared on the union of their test sets.
        timestamp: address (http or https) of a time-stamp authority (RFC 3161) that stamps the
            ledger's head after each change; empty: none.
        licences: cohort -> licence or terms of use of its data, for the bill of materials.
    """

    tracking_uri: str = ""
    artifact_root: str = ""
    experiment: str = "glioflow"
    gate: tuple[Rule, ...] = DEFAULT_GATE
    promote: Literal["automatic", "manual"] = "automatic"
    approve: str = ""
    attempts: int = Field(default=4, ge=1)
    patience_s: float = Field(default=2.0, ge=0.0)
    max_file_mb: float = Field(default=4096.0, gt=0.0)
    export: str = ""
    ask_champion: bool = True
    timestamp: str = ""
    licences: dict[str, str] = Field(default_factory=dict)

    @field_validator("approve")
    @classmethod
    def _names_and_reason(cls, value: str) -> str:
        if value and person_and_reason(value) is None:
            raise ValueError("an approval reads 'name: reason'")
        return value.strip()

    @field_validator("timestamp")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("the address of a time-stamp authority starts with http(s)://")
        return value

    @field_validator("gate")
    @classmethod
    def _each_rule_once(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.rule for rule in value]
        if len(set(names)) != len(names):
            raise ValueError("a rule stands twice in the gate")
        return value
