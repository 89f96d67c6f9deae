"""The page in a real browser: what is seen, heard and reached, and that nothing is asked for."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.files import cache_folder
from serving.report.page import write_page
from serving.report.result import PatientResult
from tests.serving.browser import Tab, browser_tab
from tests.serving.shop import Shop
from tests.serving.test_viewer import LEFT, result_of

pytestmark = pytest.mark.slow

AXE = "axe-core@4.10.3"
AXE_SHA512 = (
    "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="
)


@pytest.fixture(scope="module")
def answered(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[PatientResult, Path]:
    """An answer with the tumour at LEFT, and its page."""
    result, path = result_of(shop), tmp_path_factory.mktemp("page") / "prediction.html"
    write_page(path, result, interactive=True)
    return result, path


@pytest.fixture
def tab(answered: tuple[PatientResult, Path], tmp_path: Path) -> Iterator[Tab]:
    """The page, opened and drawn."""
    with browser_tab(tmp_path / "profile") as opened:
        opened.size(1280, 950)
        opened.open(answered[1])
        _until(opened, "document.getElementById('viewer').dataset.ready === 'yes'")
        yield opened


def _until(tab: Tab, condition: str) -> None:
    for _ in range(240):
        if tab.evaluate(condition):
            return
        time.sleep(0.25)
    pytest.fail(f"never: {condition}; {tab.complaints}")


def _focus(tab: Tab, index: int = 0) -> None:
    tab.evaluate(f"document.querySelectorAll('canvas')[{index}].focus()")


def _place(tab: Tab) -> str:
    found: str = tab.evaluate("document.getElementById('place').textContent")
    return found


def _lps(said: str) -> np.ndarray:
    """The crosshair's place in LPS mm, by the words of the page."""
    signs = {"left": 1, "right": -1, "posterior": 1, "anterior": -1, "superior": 1, "inferior": -1}
    found = re.findall(r"(\d+) mm (\w+)", said)
    return np.array([signs[side] * float(mm) for mm, side in found])


def _canvas(tab: Tab, index: int) -> np.ndarray:
    """RGB (row, column, 3) of a picture as it is seen."""
    tab.evaluate(f"document.querySelectorAll('canvas')[{index}].scrollIntoView({{block:'center'}})")
    box = tab.evaluate(
        f"(() => {{ const b = document.querySelectorAll('canvas')[{index}].getBoundingClientRect();"
        " return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"
    )
    clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
    answer = tab.call("Page.captureScreenshot", clip=clip)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB"))


def _orange(picture: np.ndarray) -> np.ndarray:
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return red - blue > 60


def test_the_page_runs_without_a_complaint_and_asks_for_nothing(
    tab: Tab, answered: tuple[PatientResult, Path]
) -> None:
    assert tab.requests == [answered[1].as_uri()]
    assert tab.complaints == []


def test_the_tumour_is_seen_on_the_patients_left_in_every_sequence(tab: Tab) -> None:
    assert np.linalg.norm(_lps(_place(tab)) - LEFT) < 8
    assert "in the tumour" in _place(tab)
    _focus(tab)
    for index in range(3):
        picture = _canvas(tab, index)
        axial = _orange(picture)[:, : picture.shape[1] // 3]
        assert axial.sum() > 200
        # The patient's left is on the right, and what is in front is above.
        rows, columns = np.nonzero(axial)
        brain = np.argwhere(picture[:, : picture.shape[1] // 3].max(axis=2) > 60)
        assert columns.mean() > brain[:, 1].mean() + 15
        assert rows.mean() < brain[:, 0].mean()
    tab.press("m")
    assert not any(_orange(_canvas(tab, index)).sum() > 20 for index in range(3))
    assert tab.evaluate("document.getElementById('mask').checked") is False


@pytest.mark.parametrize("key", ["ArrowUp", "ArrowLeft", "PageDown"])
def test_keys_move_all_sequences_and_the_values_are_those_of_the_voxel(
    tab: Tab, answered: tuple[PatientResult, Path], key: str
) -> None:
    case = answered[0].case
    towards = {"ArrowUp": (0, 0, 1), "ArrowLeft": (-1, 0, 0), "PageDown": (0, 1, 0)}[key]
    _focus(tab, 1)
    start = _lps(_place(tab))
    pictures = [_canvas(tab, index) for index in range(3)]
    for steps in range(1, 4):
        tab.press(key)
        said = _place(tab)
        moved = (_lps(said) - start) / case.grid.spacing
        assert np.abs(moved - steps * np.array(towards)).max() < 0.7
        voxel = np.linalg.inv(case.grid.affine) @ [*_lps(said), 1.0]
        x, y, z = np.rint(voxel[:3]).astype(int)
        values = re.findall(r"(?:T1C|T2|FLAIR) (−?[\d.]+)", said)
        found = [float(value.replace("−", "-")) for value in values]
        expected = [float(case.volume(sequence)[z, y, x]) for sequence in case.sequences]
        np.testing.assert_allclose(found, expected, atol=0.08)
    for index in range(3):
        assert np.abs(_canvas(tab, index).astype(int) - pictures[index]).mean() > 1


def test_wheel_and_right_button_scroll_and_window_every_sequence(tab: Tab) -> None:
    tab.evaluate("document.getElementById('pictures').scrollIntoView()")
    before = [_canvas(tab, index) for index in range(3)]
    box = tab.evaluate(
        "(() => { const b = document.querySelector('canvas').getBoundingClientRect();"
        " return [b.x + b.width / 6, b.y + b.height / 2]; })()"
    )
    place = {"x": box[0], "y": box[1]}
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
    slice_before = tab.evaluate("document.getElementById('axial').value")
    tab.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=120, **place)
    assert tab.evaluate("document.getElementById('axial').value") != slice_before
    greys = tab.evaluate("document.getElementById('greys').textContent")
    tab.call(
        "Input.dispatchMouseEvent",
        type="mousePressed",
        button="right",
        buttons=2,
        clickCount=1,
        **place,
    )
    for step in range(1, 8):
        tab.call(
            "Input.dispatchMouseEvent",
            type="mouseMoved", button="right", buttons=2, x=box[0], y=box[1] - 6 * step,
        )  # fmt: skip
    tab.call(
        "Input.dispatchMouseEvent",
        type="mouseReleased", button="right", x=box[0], y=box[1] - 42, clickCount=1,
    )  # fmt: skip
    assert tab.evaluate("document.getElementById('greys').textContent") != greys
    after = [_canvas(tab, index) for index in range(3)]
    assert all(np.abs(a.astype(int) - b).mean() > 3 for a, b in zip(after, before, strict=True))
    tab.evaluate("document.getElementById('reset').click()")
    assert tab.evaluate("document.getElementById('greys').textContent") == greys


def test_a_region_can_be_chosen(tab: Tab) -> None:
    def choose(region: int) -> np.ndarray:
        tab.evaluate(
            f"(() => {{ const r = document.getElementById('region'); r.value = '{region}';"
            " r.dispatchEvent(new Event('input')); })()"
        )
        picture = _canvas(tab, 2).astype(int)
        return picture.max(axis=2) - picture.min(axis=2) > 25

    tab.evaluate("document.getElementById('mask').click()")
    nothing, one, every = choose(0).sum(), choose(3).sum(), choose(-1).sum()
    assert nothing + 200 < one
    assert one + 200 < every
    assert choose(0).sum() == nothing


def test_everything_is_reached_by_tab_with_a_visible_focus(tab: Tab) -> None:
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    reached = []
    for _ in range(20):
        tab.press("Tab")
        name, seen = tab.evaluate(
            "(() => { const a = document.activeElement, s = getComputedStyle(a);"
            " return [a.id || a.tagName, s.outlineStyle !== 'none' && s.outlineWidth !== '0px'];"
            " })()"
        )
        reached.append(name)
        assert seen or name == "BODY", name
    assert reached.count("CANVAS") == 3
    controls = ("axial", "coronal", "sagittal", "level", "width", "mask", "opacity", "region")
    assert set(reached) >= {*controls, "reset"}


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script, from the cache or by npm; skips without either."""
    folder = cache_folder() / "npm"
    archive = folder / "axe-core-4.10.3.tgz"
    if not archive.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm to fetch axe-core with")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, capture_output=True)
        if done.returncode:
            pytest.skip(f"npm cannot fetch {AXE}: {done.stderr.decode()[-200:]}")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == AXE_SHA512
    with tarfile.open(archive) as opened:
        script = opened.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def test_axe_finds_no_serious_violation(tab: Tab, axe: str) -> None:
    tab.evaluate(axe + "; 0")
    found = tab.evaluate(
        "axe.run().then(r => [r.passes.length, r.violations.map(v => [v.impact, v.id,"
        " v.nodes.map(n => n.html.slice(0, 120))])])"
    )
    assert found[0] > 20
    assert [v for v in found[1] if v[0] in ("serious", "critical")] == []


def test_without_webgl_or_script_the_static_page_stays(
    answered: tuple[PatientResult, Path], tmp_path: Path
) -> None:
    for name, options, script in (("gl", ("--disable-3d-apis",), True), ("js", (), False)):
        with browser_tab(tmp_path / name, *options) as opened:
            opened.call("Emulation.setScriptExecutionDisabled", value=not script)
            opened.call("Page.navigate", url=answered[1].as_uri())
            time.sleep(5)
            # What was not run while the page loaded is not run later, either; the test's own is.
            opened.call("Emulation.setScriptExecutionDisabled", value=False)
            seen = opened.evaluate(
                "[document.querySelectorAll('.slices img').length,"
                " document.getElementById('viewer').offsetHeight]"
            )
            assert seen == [15, 0], name
            assert opened.complaints == [], name


def test_print_is_the_static_page_on_one_sheet(tab: Tab) -> None:
    answer = tab.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    content = base64.b64decode(answer["data"])
    assert len(re.findall(rb"/Type /Page\b", content)) == 1
