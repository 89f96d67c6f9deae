"""The report: one page that needs no network, and the model card beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.files import atomic, write_text
from components.core.html import percent, template
from components.core.vocabulary import Model
from components.evaluate.report import published
from components.evaluate.report.canvas import Drawing, label_of
from components.evaluate.report.curve_figures import hybrid_figures, set_figures
from components.evaluate.report.failure_gallery import WrongCall, failure_png
from components.evaluate.report.formatting import (
    INPUTS,
    anchor,
    area,
    interval,
    mean_sd,
    published_range,
    values,
)
from components.evaluate.report.model_card import render_model_card
from components.evaluate.report.supplement_figures import forest_figure, supplement_figures
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.table_one import format_p, table_rows
from components.evaluate.studies.ablations import paper_lines
from components.evaluate.studies.robustness import HEADINGS, cells_of

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(
    result: dict[str, Any],
    failures: dict[str, list[WrongCall]],
    settings: EvaluateSettings,
    out: Path,
) -> None:
    """Write report.html, model_card.md and figures/*.svg below `out`.

    Args:
        result: content of evaluation.json.
        failures: set -> the hybrid's worst wrong calls.
    """
    drawings = _draw(result) if settings.figures else {}
    write_text(out / "report.html", render_report(result, failures, drawings))
    write_text(out / "model_card.md", render_model_card(result))
    with atomic(out / "figures") as temporary:
        temporary.mkdir()
        for drawing in (one for found in drawings.values() for one in found):
            (temporary / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")


def render_report(
    result: dict[str, Any],
    failures: dict[str, list[WrongCall]],
    drawings: dict[str, list[Drawing]],
) -> str:
    """HTML of the report; `drawings` is keyed by set, "" holding those of all sets."""
    page = template(
        _TEMPLATE,
        interval=interval,
        area=area,
        p=format_p,
        label=label_of,
        range=published_range,
        meansd=mean_sd,
        anchor=anchor,
        values=values,
    )
    return page.render(
        result=result,
        drawings=drawings,
        gallery={
            name: [(failure, failure_png(failure)) for failure in found]
            for name, found in failures.items()
            if found
        },
        shows_saliency=any(one.saliency is not None for some in failures.values() for one in some),
        headline=_headline(result),
        slices=_slices(result),
        table_one=table_rows(result["cohorts"]["cohorts"]) if result["cohorts"] else [],
        published=published,
        inputs=INPUTS,
        known_models=list(INPUTS),
        findings=_findings(result),
        paper_ablations=paper_lines(),
        headings=HEADINGS,
        level_cells=cells_of,
    )


def _draw(result: dict[str, Any]) -> dict[str, list[Drawing]]:
    drawings = {"": hybrid_figures(result)}
    drawings |= {f"more:{section}": found for section, found in supplement_figures(result).items()}
    for name, block in result["sets"].items():
        drawings[name] = set_figures(name, result) if result["curves"][name] else []
        hybrid = block.get(Model.HYBRID.value)
        if name in result["subgroups"] and hybrid:
            forest = forest_figure(name, result["subgroups"][name], hybrid)
            drawings[name] += [forest] if forest else []
    return drawings


def _headline(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a set and model: ours, and the paper's where it has such a set and model."""
    rows = []
    for name, block in result["sets"].items():
        paper = published.counterpart(name)
        for index, model in enumerate(m for m in result["models"] if m in block):
            rows.append(
                {
                    "set": name,
                    "first": index == 0,
                    "models": sum(m in block for m in result["models"]),
                    "patients": block["patients"],
                    "model": model,
                    "ours": block[model],
                    "paper": _published(published.PER_PATIENT, name, model),
                    "paper_set": paper,
                }
            )
    return rows


def _slices(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The same per slice."""
    return [
        {
            "set": name,
            "model": model,
            "ours": block,
            "paper": _published(published.PER_SLICE, name, model),
        }
        for name, models in result["per_slice"].items()
        for model, block in models.items()
    ]


def _published(
    table: dict[str, dict[Model, published.PaperFigures]], name: str, model: str
) -> published.PaperFigures | None:
    known = table.get(published.counterpart(name) or "", {})
    return next((found for key, found in known.items() if key.value == model), None)


def _findings(result: dict[str, Any]) -> list[str]:
    """Sentences for the top of the page: what holds, and what a reader must not overlook."""
    found = []
    model, pair = Model.HYBRID.value, f"{Model.HYBRID.value}_vs_{Model.AGE.value}"
    alpha = result["settings"]["alpha"]
    for name, block in result["sets"].items():
        if model not in block:
            continue
        scores = block[model]
        text = (
            f"{name}: {block['patients']} patients, accuracy {percent(scores['accuracy'])},"
            f" AUROC {area(scores['auroc'])}"
        )
        test = result["comparisons"][name].get(pair)
        if test and test["auroc_difference"]["value"] is not None:
            text += f"; {_against_age(test, alpha)}"
        if silent := scores["unanswered"]:
            who = "1 patient" if silent == 1 else f"{silent} patients"
            text += f"; no tumour found in {who}"
        found.append(f"{text}.")
    return found


def _against_age(test: dict[str, Any], alpha: float) -> str:
    """Whether the hybrid beats age alone, by the test adjusted over the sets."""
    p = test["delong_holm_p"]
    if p is None:
        return "no test against age alone exists"
    if p >= alpha:
        return f"not shown to differ from age alone in AUROC (P = {p:.3f})"
    better = test["auroc_difference"]["value"] > 0
    shown = "P < 0.001" if p < 0.001 else f"P = {p:.3f}"
    return f"{'better' if better else 'worse'} than age alone in AUROC ({shown})"
