"""Pages: escaping, names that are missing, and how numbers are written."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from components.core.html import number, percent, template


def test_html_is_escaped_and_markdown_is_not(tmp_path: Path) -> None:
    for name, expected in (("a.html.j2", "&lt;b&gt;"), ("a.md.j2", "<b>")):
        (tmp_path / name).write_text("{{ text }}")
        assert template(tmp_path / name).render(text="<b>") == expected


def test_a_name_not_given_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.html.j2").write_text("{{ absent }}")
    with pytest.raises(UndefinedError):
        template(tmp_path / "a.html.j2").render()


def test_filters_reach_the_template(tmp_path: Path) -> None:
    (tmp_path / "a.html.j2").write_text("{{ 0.938 | percent }}")
    assert template(tmp_path / "a.html.j2", percent=percent).render() == "93.8 %"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (-0.001, "0.00"), (-0.25, "−0.25"), (1.0, "1.00")]
)
def test_numbers_have_a_true_minus_sign_and_none_before_zero(
    value: float | None, text: str
) -> None:
    assert number(value) == text
