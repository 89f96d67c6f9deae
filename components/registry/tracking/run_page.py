"""What the page of a parent run says at its top."""

from __future__ import annotations

from typing import Any

from components.core.vocabulary import Model


def describe_run(release: str, trained_on: str, sets: dict[str, Any], gate: dict[str, Any]) -> str:
    """Markdown at the top of the parent run's page: the headline table and the verdict."""
    lines = [
        f"**{release}**, trained on **{trained_on}**. Research use only.",
        "",
        f"**Gate: {verdict_line(gate)}**",
        "",
        "| test set | patients | Dice | model | accuracy | AUROC (95 % CI) | AUPRC (95 % CI) |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for name, block in sets.items():
        dice = (block.get("dice") or {}).get("mean")
        for model in (m.value for m in Model if m.value in block):
            score = block[model]
            lines.append(
                f"| {name} | {block.get('patients', '')} | {_figure(dice)} | {model} "
                f"| {_figure(score.get('accuracy'))} | {_interval(score.get('auroc'))} "
                f"| {_interval(score.get('auprc'))} |"
            )
    lines.append("")
    lines += [
        f"- {'passed' if rule['passed'] else 'REFUSED'}: `{rule['rule']}`: {rule['reason']}"
        for rule in gate["rules"]
    ]
    return "\n".join(lines)


def verdict_line(gate: dict[str, Any]) -> str:
    """The verdict in a few words."""
    refused = [rule["rule"] for rule in gate["rules"] if not rule["passed"]]
    text = f"refused by {', '.join(refused)}" if refused else "passed"
    approval = gate.get("approval")
    return f"{text}; overridden by {approval['name']}: {approval['reason']}" if approval else text


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(area: Any) -> str:
    if not isinstance(area, dict) or area.get("value") is None:
        return "-"
    low, high = area.get("low"), area.get("high")
    span = "" if low is None or high is None else f" ({low:.3f}-{high:.3f})"
    return f"{area['value']:.3f}{span}"
