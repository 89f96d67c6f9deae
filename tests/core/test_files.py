"""Files are whole or absent: after an exception, a kill, or a disk that is full."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import BadInput
from components.core.files import (
    atomic,
    read_json,
    sha256_file,
    sha256_tree,
    write_arrays,
    write_json,
)


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(RuntimeError), atomic(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic(tmp_path / "case") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [p.name for p in (tmp_path / "case").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["case"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    code = (
        "import sys, time\n"
        "from components.core.files import atomic\n"
        f"with atomic({str(tmp_path / 'a.json')!r}) as t:\n"
        "    t.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert read_json(tmp_path / "a.json") == {"old": 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(OSError, match="No space left"), atomic(tmp_path / "a.json") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x" * 100_000)
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"x": math.nan})
    assert not list(tmp_path.iterdir())


def test_digests_are_of_content_not_of_time(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_text("x")
    (tmp_path / "a").write_text("")
    first = sha256_tree(tmp_path)
    time.sleep(0.01)
    (tmp_path / "a").write_text("")
    assert sha256_tree(tmp_path) == first
    assert list(first) == ["a", "b/x"]
    # sha256 of nothing (FIPS 180-4).
    assert sha256_file(tmp_path / "a").startswith("e3b0c44298fc1c14")


def test_arrays_come_back_and_their_file_has_no_time_and_no_streamed_sizes(tmp_path: Path) -> None:
    arrays = {"mask": np.arange(5000) % 7 == 0, "shape": np.array([1, 2, 3])}
    write_arrays(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert set(archive.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(archive[name], array)
    header = (tmp_path / "a.npz").read_bytes()[:30]
    assert header[4:6] == b"\x14\x00", "made for readers without ZIP64"
    assert header[10:14] == b"\x00\x00\x21\x00", "of 1 January 1980"
    assert b"\xff\xff\xff\xff" not in header


def test_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"bad\xff")
    with pytest.raises(BadInput) as refused, atomic(folder / "a.txt"):
        pass
    str(refused.value).encode()
    assert not list(tmp_path.iterdir())
