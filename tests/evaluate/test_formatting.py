"""How figures are printed, and which of the paper's sets stands for ours."""

from __future__ import annotations

import pytest

from components.core.vocabulary import Model
from components.evaluate.report.canvas import canvas, label_of, line_style, svg_of
from components.evaluate.report.formatting import anchor, area, interval, mean_sd, values
from components.evaluate.report.published import PER_PATIENT, PER_SLICE, counterpart


def test_intervals() -> None:
    assert interval({"value": 0.02, "low": -0.03, "high": 0.07}) == "0.02 (−0.03 to 0.07)"
    assert area({"value": 0.964, "low": 0.93, "high": 0.99}) == "0.96 (0.93–0.99)"
    assert area({"value": 0.5, "low": None, "high": None}) == "0.50"
    assert interval(None) == interval({"value": None, "low": None, "high": None}) == "–"


def test_means_have_as_many_decimals_as_their_size_allows() -> None:
    assert mean_sd({"mean": 0.914, "sd": 0.04}) == "0.91 ± 0.04"
    assert mean_sd({"mean": 0.914, "sd": None}) == "0.91"
    shown = [values({"mean": mean, "sd": None}) for mean in (1.234, 12.34, 123.4, -123.4)]
    assert shown == ["1.23", "12.3", "123", "−123"]


def test_names_become_ids() -> None:
    assert anchor("SNUH (external), 2021") == "snuh-external-2021"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("internal", "internal"), ("TCGA-LGG", "tcia"), ("snuh_2", "snuh"), ("north", None)],
)
def test_the_papers_counterpart(ours: str, theirs: str | None) -> None:
    assert counterpart(ours) == theirs


def test_every_published_value_lies_in_its_interval() -> None:
    found = [
        one for table in (PER_PATIENT, PER_SLICE) for row in table.values() for one in row.values()
    ]
    assert len(found) == 18
    for one in found:
        for value, low, high in (one.auroc, one.auprc):
            assert low < value < high


def test_figures_are_the_same_bytes_and_share_no_id() -> None:
    def drawn(name: str) -> str:
        with canvas((2.0, 2.0)) as (figure, axes):
            axes[0].plot([0, 1], [0, 1], **line_style(0))
            return svg_of(figure, name)

    assert drawn("a") == drawn("a")
    assert 'id="a-' in drawn("a")
    assert 'id="a-' not in drawn("b")
    assert len({str(line_style(index)) for index in range(7)}) == 7


def test_models_have_labels_and_ablations_their_own_names() -> None:
    assert label_of(Model.AGE.value) == "age alone"
    assert label_of("no_shape") == "no shape"
