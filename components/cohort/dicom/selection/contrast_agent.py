"""What stands in a header's ContrastBolusAgent: an agent, no agent, or nobody knows."""

from __future__ import annotations

import re

_AGENT = re.compile(
    r"gad\w*|gd\b|gd[ -]?\w*|dotarem|clariscan|dotagraf|artirem|cyclolux|dotavision|pro ?hance|"
    r"multi ?hance|magnevist|magnegita|magnograf|magnetol|omniscan|optimark|ablavar|vasovist|"
    r"primovist|eovist|elucirem|vueway|pixxoscan|claricyclic|ferumoxytol|feraheme|"
    r"contrast|kontrast\w*|contraste|contrasto|km|mdc|ce|c\+|\+ ?c|post|with|mit|avec|con|com|"
    r"yes|ja|oui|si|sì|sí|sim|given|iv|i\.v\.|y|да|гад\w*|магневист|омнискан|дотарем|примовист|"
    r"造影\w*|增强|増強|조영\w*|钆\w*|釓\w*|ガド\w*|マグネ\w*|オムニスキャン|プロハンス|가도\w*",
    re.IGNORECASE,
)
_NO = (
    r"no|non|none|not|nil|null|n\.?/?\s?a\.?|n|nihil|nein|kein\w*|keine?s?|nicht|ohne|vor|sans|"
    r"avant|pas|aucun\w*|sin|antes|ning\w+|sem|não|nao|nenhum\w*|senza|prima|nessun\w*|geen|niet|"
    r"zonder|utan|ingen|inget|inte|ikke|ej|ei|uden|uten|bez|brak|nie|ilman|yok|hayır|without|w/?o|"
    r"before|pre|нет|не|без|до"
)
_NONE = re.compile(
    rf"\W*({_NO}|pre-?contrast|unenhanced|plain|native|nativ|false|unknown|unbekannt|inconnu|"
    r"desconocido|unspecified|undefined|无|無|없음|無し|なし|否|平扫|平掃|비조영|単純)"
    r"(\W.*|\s.*|contrast\w*|gad\w*|)",
    re.IGNORECASE | re.DOTALL,
)
_REFUSED = re.compile(
    r"(?<!\w)(declin|refus|reject|cancel|abort|withheld|contra-?indic|allerg|abgelehnt|verweiger|"
    r"abgebrochen|rechaz|rifiut|recus|отказ|not +(given|admin|inject|used)|frei(?!\w))|"
    r"[- ]free(?!\w)|kontrastfrei|kontrastsız|拒否|拒绝|거부|無し|なし|无$|無$|없음|未",
    re.IGNORECASE,
)
"""Said anywhere beside an agent's name, it was not given."""
_NO_AT_END = re.compile(rf".*[\s:(,-]({_NO}|0+([.,]0+)?)", re.IGNORECASE | re.DOTALL)
_DOUBT = re.compile(
    rf"(?<!\w)({_NO}|para-?vas\w*|extra-?vas\w*|plan\w*|pending|later|tba|tbd|\?)(?!\w)",
    re.IGNORECASE,
)
"""Said in the middle, it may mean anything."""
_AMOUNT = re.compile(r"(\d+(?:[.,]\d+)?)\s*(ml|cc|mmol\S*|mg|g|l|%)?", re.IGNORECASE)
_CJK_NONE = re.compile(r"^(无|無|없|未|非|不|비조영|単純|平)")


def agent_given(text: str) -> bool | None:
    """Whether a header's agent says that contrast agent was given; None where it cannot be told.

    An empty one says no. Known are the agents on the market, and the ways of saying yes and none
    in the languages of the hospitals that were met; a dose of 0, or a refusal, is none.
    """
    plain = text.strip().strip("\"'.,;:()[]<>-_/\\*?").strip()
    if not plain:
        return False
    if _CJK_NONE.match(plain) or _NONE.fullmatch(plain) or _REFUSED.search(plain):
        return False
    if _NO_AT_END.fullmatch(plain):
        return False
    doses = _AMOUNT.findall(plain)
    amounts = [float(number.replace(",", ".")) for number, unit in doses if unit and unit != "%"]
    whole = _AMOUNT.fullmatch(plain)
    if whole or amounts:
        found = amounts or [float(whole[1].replace(",", "."))] if whole else amounts
        if not any(found):
            return False
    if _DOUBT.search(plain):
        return None
    if _AGENT.search(plain) and _AGENT.match(re.sub(r"^[\d.,\s]*(ml|cc|mmol)?\s*", "", plain)):
        return True
    if any(amounts):
        return True
    return (
        True if re.search(r"gado\w+|gadov?\w+|hance|vist\b|rem\b", plain, re.IGNORECASE) else None
    )
