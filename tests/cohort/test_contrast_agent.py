"""An agent, no agent in anybody's words, or a word that nobody knows."""

from __future__ import annotations

import pytest

from components.cohort.dicom.selection.contrast_agent import agent_given

GIVEN = """Gadovist|GADAVIST|Dotarem|DOTAREM 0.5 mmol/ml|ProHance|Prohance 10ml|Multihance|
MultiHance 15 ml|Magnevist|Omniscan|Clariscan|gadobutrol|Gadoterate Meglumine|Gd-DTPA|GD|GDDTPA|
7.5 ml Gadovist|10 ml|10cc|0.1 mmol/kg|Gadolinium|yes|Ja|oui|Elucirem|Vueway|IV|15ML DOTAREM|
Gadovist 1.0|Gadovist 7,5|Гадовист|钆喷酸|ガドビスト|가도비스트|造影あり|
KM|Kontrastmittel|Contrast|CE|Primovist|造影剤|조영제|gadopentetate dimeglumine|Eovist"""
NONE = """|none|NONE|No|no contrast|NO CONTRAST|N/A|NA|n.a.|N.A.|nil|Nihil|0|0.0|0 ml|0ml|0.0 ML|
0 cc|without|WITHOUT CONTRAST|w/o|W/O GAD|non-contrast|Non contrast|noncontrast|unenhanced|ohne|
ohne KM|kein|Kein KM|keine|kein Kontrastmittel|sans|sans contraste|sin contraste|Sin gadolinio|
Sem contraste|senza mdc|nessuno|ninguno|aucun|geen|zonder contrast|ingen|bez kontrastu|pre|
Pre-contrast|precontrast|native|nativ|-|--|false|FALSE|unknown|нет|без контраста|无|無|없음|なし|否|
Gadovist 0 ml|0 ml Gadovist|not given|Gd-DTPA declined|Gadovist refused|GADAVIST - NOT GIVEN|
Gadovist (not given)|Dotarem not administered|contrast refused|contraindicated|
allergy to gadolinium|KM abgelehnt|Gadovist verweigert|refusé|rechazado|rifiutato|
Dotarem: no|Gadovist none|Gadovist 0|
Gadovist 0.0|cancelled|vor KM|vor Gadovist|avant gadolinium|prima del mdc|antes de contraste|
pas de gadolinium|kontrastfrei|KM-frei|contrast-free|não|hayır|kontrastsız|
造影なし|造影剤なし|ガドリニウム造影なし|조영제 없음|增强无|не вводился|
No Gadolinium given|none given|NULL|/|*|plain|平扫|비조영|N"""
UNKNOWN = """Gadovist planned|Gadovist paravasal|Gadovist, no reaction|Omnipaque|saline|7.5|
Smith^John|see notes|XYZ-17|tba|3T protocol B"""


def words(text: str) -> list[str]:
    return [word.replace("\n", "") for word in text.replace("|\n", "|").split("|")]


@pytest.mark.parametrize("text", words(GIVEN))
def test_agents(text: str) -> None:
    assert agent_given(text) is True


@pytest.mark.parametrize("text", words(NONE))
def test_ways_of_saying_none(text: str) -> None:
    assert agent_given(text) is False


@pytest.mark.parametrize("text", words(UNKNOWN))
def test_what_nobody_knows(text: str) -> None:
    assert agent_given(text) is None
