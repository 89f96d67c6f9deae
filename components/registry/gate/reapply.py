"""The gate's verdict again, from nothing but what the run stored."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from components.core.files import read_json
from components.core.tables import read_csv
from components.registry import names
from components.registry.audit.links import Chain
from components.registry.gate.champion import Champion
from components.registry.gate.evidence import evaluated_sets, read_run_predictions
from components.registry.gate.rules import Evidence, apply_gate
from components.registry.gate.verdict import GateVerdict, RuleVerdict
from components.registry.names import RegisteredModel
from components.registry.settings import NonInferiorToChampion, Rule
from components.registry.tracking.step_records import PARENT


def reapply_gate(chain: Chain, gate: GateVerdict) -> tuple[RuleVerdict, ...]:
    """The rules of a verdict, each applied again, in their order."""
    read: TypeAdapter[Rule] = TypeAdapter(Rule)
    rules = [read.validate_python({"rule": r.rule, **r.required}) for r in gate.rules]
    run = chain.folder(PARENT)
    evidence = Evidence(
        predictions=read_run_predictions(run / "predictions.csv"),
        sets=evaluated_sets(chain.folder("evaluate")),
        validation=read_json(chain.folder("validate") / "validation.json"),
        manifest=read_csv(run / names.MANIFEST_FILE),
        features=read_csv(chain.folder("features") / "features.csv"),
        trained_on=chain.entry.details["trained_on"],
        champion=_champion(chain, gate),
    )
    return apply_gate(evidence, tuple(rules)).rules


def _champion(chain: Chain, gate: GateVerdict) -> Champion | None:
    """The champion that was met, with the answers that were kept."""
    met = gate.champion
    if met is None:
        return None
    known = chain.ledger.registration(RegisteredModel.RELEASE, met.version)
    kinds = (rule.found for rule in gate.rules if rule.rule == _NON_INFERIOR)
    compared: dict[str, Any] = next(kinds, {})
    return Champion(
        release=met.release,
        version=met.version,
        trained_on=known.details["trained_on"] if known else "",
        predictions=read_run_predictions(chain.folder(PARENT) / names.CHAMPION_FILE),
        asked=tuple(compared.get("asked", ())),
        left_out=compared.get("left_out", {}),
        spoilt=tuple(compared.get("spoilt", ())),
    )


_NON_INFERIOR = NonInferiorToChampion().rule
