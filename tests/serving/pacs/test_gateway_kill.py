"""kill -9 at any point: after a restart the study is answered, and by one answer."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from pydicom import Dataset

from serving.pacs.gateway.send import NotStored, send
from serving.pacs.gateway.settings import DicomNode
from tests.conftest import ROOT
from tests.registry.servers import free_port
from tests.serving.pacs.parts import Archive, archive, as_sent, study

GATEWAY = "serving.pacs.gateway"
IMAGES = 3 * 16
POINTS = {
    "an image before it is written": ("spool", "Spool.store", "before", 1),
    "an image without news of it": ("state", "GatewayState.arrived", "before", 9),
    "an image before it is acknowledged": ("spool", "Spool.store", "after", 20),
    "the last image before it is acknowledged": ("spool", "Spool.store", "after", IMAGES),
    "a study before its series are chosen": ("work", "choose_series", "before", 1),
    "a study before it is asked about": ("work", "zip_files", "after", 3),
    "an answer before it is written": ("work", "write_answer_files", "before", 1),
    "an answer half written": ("work", "write_answer_files", "after", 1),
    "an answer before it is sent": ("work", "Worker._ask", "after", 1),
    "an answer half sent": ("send", "_store", "after", 3),
    "an answer sent and not noted": ("state", "GatewayState.stored", "before", 1),
    "an answer noted and not ended": ("state", "GatewayState.end", "before", 1),
    "a study half forgotten": ("spool", "Spool._empty_trash", "before", 2),
}
FAST = ("an image without news of it", "an answer half sent")


def _start(settings: Path, *point: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.serving.pacs.killed_gateway", str(settings), *point]
    return subprocess.Popen(command, cwd=ROOT)


def _deliver(node: DicomNode, items: list[Dataset]) -> bool:
    """Send as a PACS does: the whole job again until it is acknowledged or the node dies."""
    end = time.monotonic() + 60.0
    while True:
        try:
            send(node, items)
            return True
        except NotStored as error:
            if "does not answer" not in error.problem or time.monotonic() > end:
                return False
            time.sleep(0.2)


def _phases(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "gateway.sqlite") as database:
        return [phase for (phase,) in database.execute("SELECT phase FROM studies")]


def _killed_and_restarted(folder: Path, pacs: Archive, point: tuple[str, str, str, int]) -> None:
    port, module = free_port(), f"{GATEWAY}.{point[0]}"
    callers = [{"ae_title": "SCANNER", "addresses": ["127.0.0.1"]}]
    content = {
        "folder": str(folder / "gateway"),
        "listen": {"host": "127.0.0.1", "port": port, "callers": callers},
        "send": {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": pacs.port},
        "quiet_s": 2.0,
        "keep_h": 0.0,
        "metrics_port": 0,
    }
    settings = folder / "gateway.yaml"
    settings.write_text(yaml.safe_dump(content))
    node = DicomNode(ae_title="GLIOFLOW", host="127.0.0.1", port=port, calling_ae_title="SCANNER")
    items = as_sent(study(only="t1c t2 flair"))
    assert len(items) == IMAGES
    first = _start(settings, module, point[1], point[2], str(point[3]))
    acknowledged = _deliver(node, items)
    assert first.wait(60) == -signal.SIGKILL
    second = _start(settings)
    try:
        if not acknowledged:
            assert _deliver(node, items)
        end = time.monotonic() + 60.0
        while _phases(folder / "gateway") != ["done"]:
            assert second.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        # What was sent again would come now.
        time.sleep(1.0)
    finally:
        second.terminate()
        second.wait(30)


@pytest.mark.parametrize(
    "point",
    [pytest.param(p, id=n, marks=[] if n in FAST else pytest.mark.slow) for n, p in POINTS.items()],
)
def test_it_neither_loses_nor_repeats_a_study(
    tmp_path: Path, point: tuple[str, str, str, int]
) -> None:
    with archive() as pacs:
        _killed_and_restarted(tmp_path, pacs, point)
        assert pacs.kinds() == ["OT"] * 5 + ["SEG", "SR"]
