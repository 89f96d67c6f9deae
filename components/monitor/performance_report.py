"""`glioflow outcomes`: what answers and late labels say, as JSON and as a page."""

from __future__ import annotations

from pathlib import Path

from components.core.files import require_folder, write_json, write_text
from components.core.html import template
from components.core.tables import write_csv
from components.monitor.late_labels import join_labels
from components.monitor.performance import DRAWS, FEWEST, P_ALARM, Outcomes, judge_outcomes

JSON_FILE, HTML_FILE, QUARANTINE_FILE = "outcomes.json", "outcomes.html", "quarantine.csv"
_TEMPLATE = "outcomes.html.j2"


def write_outcomes(answers: Path, labels: Path, out: Path) -> Outcomes:
    """Write outcomes.json, outcomes.html and quarantine.csv (unused labels) into `out`.

    Raises BadInput: see `join_labels`.
    """
    joined = join_labels(answers, labels)
    require_folder(out)
    found = judge_outcomes(joined)
    rows = [(one.row, one.name, one.reason, one.remedy) for one in joined.unused]
    write_csv(out / QUARANTINE_FILE, ("row", joined.key, "reason", "remedy"), rows)
    write_json(out / JSON_FILE, found.model_dump(mode="json"))
    write_text(out / HTML_FILE, _page(found))
    return found


def outcomes_sentence(found: Outcomes) -> str:
    """The result in one sentence."""
    labelled, answered = found.whole.labelled, found.whole.answered
    came = f"{labelled} of {answered} answers with a probability have a label"
    if found.fell_short:
        return f"Worse than the probabilities say: {', '.join(found.fell_short)} ({came})."
    if labelled < FEWEST:
        return f"Too few labels to tell: {came}, and {FEWEST} are needed."
    return f"As good as the probabilities say ({came})."


def _page(found: Outcomes) -> str:
    page = template(Path(__file__).with_name(_TEMPLATE))
    return page.render(
        found=found,
        said=outcomes_sentence(found),
        tables=[
            ("All answers", (found.whole,)),
            ("By month of the answer", found.months),
            ("By release", found.releases),
        ],
        draws=DRAWS,
        p_alarm=P_ALARM,
        fewest=FEWEST,
    )
