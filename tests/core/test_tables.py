"""CSV tables: their exact bytes, and that a failed write leaves no file."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from components.core.tables import write_csv, write_records


def test_mappings_and_sequences_give_the_same_bytes(tmp_path: Path) -> None:
    columns = ("name", "value", "note")
    write_csv(tmp_path / "a.csv", columns, [{"note": 'a "b", c', "name": "é"}])
    write_csv(tmp_path / "b.csv", columns, [("é", None, 'a "b", c')])
    expected = 'name,value,note\né,,"a ""b"", c"\n'.encode()
    assert (tmp_path / "a.csv").read_bytes() == expected
    assert (tmp_path / "b.csv").read_bytes() == expected


def test_floats_are_written_to_be_read_back_exactly(tmp_path: Path) -> None:
    values = [0.1 + 0.2, np.float64(1 / 3), 1e-300]
    write_csv(tmp_path / "t.csv", ["value"], [[value] for value in values])
    cells = (tmp_path / "t.csv").read_text().splitlines()[1:]
    assert [float(cell) for cell in cells] == values


def test_table_without_rows_has_its_header(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("a", "b"), [])
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n"


def test_unknown_column_is_refused_and_the_file_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, ["a"], [["before"]])
    with pytest.raises(ValueError, match="b"):
        write_csv(path, ["a"], [{"a": 1}, {"b": 2}])
    assert path.read_bytes() == b"a\nbefore\n"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_permissions(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a"], [["secret"]], mode=0o600)
    assert (tmp_path / "t.csv").stat().st_mode & 0o777 == 0o600


@dataclass(frozen=True)
class _Point:
    epoch: int
    loss: float | None


def test_a_curve_is_written_with_its_fields_as_columns(tmp_path: Path) -> None:
    rows = [asdict(_Point(0, 0.1)), asdict(_Point(1, None))]
    write_records(tmp_path / "curves.csv", _Point, rows)
    assert (tmp_path / "curves.csv").read_text() == "epoch,loss\n0,0.1\n1,\n"
