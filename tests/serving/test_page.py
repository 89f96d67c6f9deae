"""prediction.html: self-contained, readable without eyes, and nothing in it breaks out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from components.core.vocabulary import Status
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from components.release.prediction import ConformalSet
from serving.report.explanation import explain_answer
from serving.report.page import write_page
from serving.report.result import patient_result
from tests.serving.shop import Shop

FILES = {"t1c": "1" * 64, "t2": "2" * 64 + "," + "3" * 64, "flair": "4" * 64}


@dataclass
class Page(HTMLParser):
    """What a browser would make of a page."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _page(
    shop: Shop,
    path: Path,
    *,
    tumor: bool = True,
    explain: bool = False,
    changes: dict[str, Any] | None = None,
) -> Page:
    contents, case = shop.release.contents, shop.case(6, tumor=tumor)
    answer = LocalRelease(shop.release.folder).ask(request_tensors(case, contents))
    result = patient_result(answer, case, contents, FILES).changed(**(changes or {}))
    explained = explain_answer(result, shop.classifier) if explain else None
    write_page(path, replace(result, explained=explained))
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.mark.parametrize("tumor", [True, False])
def test_a_page_needs_no_network_and_no_eyes(shop: Shop, tmp_path: Path, tumor: bool) -> None:
    page = _page(shop, tmp_path / "p.html", tumor=tumor)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    policies = [m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0]["content"].startswith("default-src 'none'")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    pictures = page.all("img")
    assert len(pictures) == 3 * 5
    assert all((one["src"] or "").startswith("data:image/png;base64,") for one in pictures)
    assert len({one["alt"] for one in pictures}) == len(pictures)
    assert all(one.get("aria-label") for one in page.all("svg"))
    assert "Research use only" in page.text


def test_the_page_says_what_the_answer_says(shop: Shop, tmp_path: Path) -> None:
    contents, case = shop.release.contents, shop.case(6)
    page = _page(shop, tmp_path / "p.html")
    answer = LocalRelease(shop.release.folder).ask(request_tensors(case, contents))
    assert f"P(IDH mutant) = {answer.probability:.2f}" in page.text
    for said in (answer.release, contents.profile, contents.plan_digest, FILES["t1c"], "phantoms"):
        assert said in page.text
    for probability in answer.slice_probabilities or ():
        assert f"P = {probability:.2f}" in page.text
    for name in contents.features:
        assert name in page.text.replace("\u200b", "")


def test_no_tumour_and_abstention_are_said_first(shop: Shop, tmp_path: Path) -> None:
    nothing = _page(shop, tmp_path / "n.html", tumor=False)
    assert "No tumour found" in nothing.text
    assert "P = " not in nothing.text
    limit = shop.release.contents.ood_limit
    changes = {"status": Status.ABSTAIN, "ood": limit + 1, "warnings": ("abstains: far",)}
    silent = _page(shop, tmp_path / "a.html", changes=changes)
    assert "No answer" in silent.text
    assert "abstains: far" in silent.text
    assert "yes: distance" in silent.text


def test_the_conformal_set_is_that_of_the_release_and_reaches_the_page(
    shop: Shop, tmp_path: Path
) -> None:
    contents, case = shop.release.contents, shop.case(6)
    assert contents.conformal is not None
    answer = LocalRelease(shop.release.folder).ask(request_tensors(case, contents))
    assert answer.probability is not None
    found = patient_result(answer, case, contents, FILES).prediction.content()["conformal"]
    assert found["idh"] == contents.conformal.idh_set(answer.probability).value
    assert found["level"] == 0.5
    assert sum(found["calibrated_on"].values()) == len(
        contents.conformal.mutant + contents.conformal.wildtype
    )
    words = {"mutant": "mutant alone", "both": "does not decide", "none": "neither"}
    for idh, sentence in words.items():
        changes = {"conformal": ConformalSet.model_validate({**found, "idh": idh})}
        assert sentence in _page(shop, tmp_path / f"{idh}.html", changes=changes).text
    assert "Not ruled out" not in _page(shop, tmp_path / "n.html", tumor=False).text


def test_an_explained_answer_shows_where_it_looked(shop: Shop, tmp_path: Path) -> None:
    page = _page(shop, tmp_path / "p.html", explain=True)
    assert len(page.all("img")) == 5 * 5
    assert page.text.count("where it looked") == 2


def test_nothing_that_is_written_on_the_page_breaks_out(shop: Shop, tmp_path: Path) -> None:
    plain = _page(shop, tmp_path / "plain.html")
    evil = "\"'></title></style><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    changes = {"patient_id": evil, "warnings": (evil, evil), "release": evil, "profile": evil}
    page = _page(shop, tmp_path / "evil.html", changes=changes)
    assert [tag for tag, _ in page.elements if tag != "li"] == [
        tag for tag, _ in plain.elements if tag != "li"
    ]
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    assert page.text.count(evil) == 6
