"""What stands in a header's ContrastBolusAgent: an agent, no agent, or nobody knows."""

from __future__ import annotations

import re

_AGENT = re.compile(
    r"gad\w*|gd\b|gd[ -]?\w*|dotarem|clariscan|dotagraf|artirem|cyclolux|dotavision|pro ?hance|"
    r"multi ?hance|magnevist|magnegita|magnograf|magnetol|omniscan|optimark|ablavar|vasovist|"
    r"primovist|eovist|elucirem|vueway|pixxoscan|claricyclic|ferumoxytol|feraheme|"
    r"contrast|kontrast\w*|contraste|contrasto|km|mdc|ce|c\+|\+ ?c|post|with|mit|avec|con|com|"
    r"yes|ja|oui|si|sì|sí|sim|given|iv|i\.v\.|y|да|"
    r"造影\w*|增强|増強|조영\w*",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"\W*(no|non|none|not|nil|null|n\.?/?\s?a\.?|n|nihil|nein|kein\w*|keine?s?|ohne|sans|aucun\w*|sin|"
    r"ning\w+|sem|nenhum\w*|senza|nessun\w*|geen|zonder|utan|ingen|inget|uden|uten|bez|brak|"
    r"ilman|yok|without|w/?o|pre|pre-?contrast|unenhanced|plain|native|nativ|false|unknown|"
    r"unbekannt|inconnu|desconocido|unspecified|undefined|нет|без|无|無|없음|無し|なし|否|平扫|平掃|"
    r"비조영|単純)(\W.*|\s.*|contrast\w*|)",
    re.IGNORECASE | re.DOTALL,
)
_AMOUNT = re.compile(r"(\d+(?:[.,]\d+)?)\s*(ml|cc|mmol\S*|mg|g|l|%)?", re.IGNORECASE)
_CJK_NONE = re.compile(r"^(无|無|없|未|非|不|비조영|単純|平)")


def agent_given(text: str) -> bool | None:
    """Whether a header's agent says that contrast agent was given; None where it cannot be told.

    An empty one says no. Known are the agents on the market, and the ways of saying yes and none
    in the languages of the hospitals that were met; a dose of 0 is none.
    """
    plain = text.strip().strip("\"'.,;:()[]<>-_/\\*?").strip()
    if not plain:
        return False
    if _CJK_NONE.match(plain) or _NONE.fullmatch(plain):
        return False
    doses = _AMOUNT.findall(plain)
    amounts = [float(number.replace(",", ".")) for number, unit in doses if unit and unit != "%"]
    whole = _AMOUNT.fullmatch(plain)
    if whole or amounts:
        found = amounts or [float(whole[1].replace(",", "."))] if whole else amounts
        if not any(found):
            return False
    if _AGENT.search(plain) and _AGENT.match(re.sub(r"^[\d.,\s]*(ml|cc|mmol)?\s*", "", plain)):
        return True
    if any(amounts):
        return True
    return (
        True if re.search(r"gado\w+|gadov?\w+|hance|vist\b|rem\b", plain, re.IGNORECASE) else None
    )
