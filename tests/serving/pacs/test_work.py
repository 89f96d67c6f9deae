"""From images on the disk to answers in the archive: the right one, once, or a recorded refusal."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from highdicom.sr import srread
from pydicom.sr.codedict import codes

from serving.client.glioflow_client.errors import Busy, Refused, ServerTrouble, Unreachable
from serving.pacs.files import CAPTURE_FILES, REPORT_FILE
from serving.pacs.gateway.work import MOST_FAULTS
from tests.cohort.dicom_writer import SECRETS, T1C, enhanced, phantom
from tests.serving.pacs.parts import Archive, Bench, archive, by_modality, study

ANSWER = ["OT"] * len(CAPTURE_FILES) + ["SEG", "SR"]


@pytest.fixture
def pacs() -> Iterator[Archive]:
    with archive() as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, pacs: Archive) -> Bench:
    return Bench(tmp_path / "gateway", pacs)


def _reasons(bench: Bench) -> list[str]:
    return [study.reason for study in bench.state.studies()]


def test_a_study_is_answered_once_it_is_quiet(bench: Bench, pacs: Archive) -> None:
    bench.receive(study())
    assert bench.run(seconds=59.0) == 0
    assert bench.run(seconds=2.0) == 1
    assert bench.server.asked == [50.0]
    assert bench.phases() == ["done"]
    assert pacs.kinds() == ANSWER
    (record,) = bench.state.studies()
    (folder,) = bench.spool.answer(record.key, "x").parent.iterdir()
    (group,) = srread(folder / REPORT_FILE).content.get_volumetric_roi_measurement_groups()
    (volume,) = group.get_measurements(codes.SCT.Volume)
    assert volume.value == 12.345
    sources = {i.SOPInstanceUID for i in study(only="t1c")}
    (seg,) = by_modality(pacs.kept)["SEG"]
    named = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {i.ReferencedSOPInstanceUID for i in named} <= sources


def test_a_duplicate_changes_nothing(bench: Bench, pacs: Archive) -> None:
    items = study()
    bench.receive(items)
    bench.run()
    first = set(pacs.kept)
    assert bench.receive(items) == 0
    assert bench.run() == 0
    # Even where nothing of it lies on the disk any more.
    bench.spool.expire(bench.clock.now + 1.0)
    assert bench.receive(items) == len(items)
    assert bench.run() == 1
    assert len(bench.server.asked) == 1
    assert bench.phases() == ["done"]
    assert set(pacs.kept) == first


def test_a_late_series_ends_a_refusal(bench: Bench, pacs: Archive) -> None:
    bench.receive(study(only="t1 t1c flair"))
    bench.run()
    assert bench.phases() == ["refused"]
    assert _reasons(bench) == ["study: no T2 among its series"]
    assert pacs.kept == {}
    bench.receive(study(only="t2"))
    bench.run()
    assert bench.phases() == ["done"]
    assert pacs.kinds() == ANSWER


def test_a_late_series_that_nothing_is_asked_about_asks_nothing(bench: Bench) -> None:
    bench.receive(study(only="t1c t2 flair"))
    bench.run()
    bench.receive(study(only="t1"))
    assert bench.run() == 1
    assert len(bench.server.asked) == 1
    assert bench.phases() == ["done"]


def test_an_enhanced_object_is_chosen_too(bench: Bench, pacs: Archive) -> None:
    whole = enhanced(phantom(1, (16, 20, 18)), T1C)
    bench.receive([*study(only="t1 t2 flair"), whole])
    bench.run()
    assert pacs.kinds() == ANSWER
    (seg,) = by_modality(pacs.kept)["SEG"]
    (named,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert named.ReferencedSOPInstanceUID == whole.SOPInstanceUID


def test_a_release_without_t2_needs_none(bench: Bench, pacs: Archive) -> None:
    bench.server.reads = ("t1c", "flair", "age")
    bench.receive(study(only="t1c flair"))
    bench.run()
    assert pacs.kinds() == ANSWER


def test_studies_do_not_mix(bench: Bench, pacs: Archive) -> None:
    """Two patients at once, image by image, and a second study of one of them."""
    one, two, again = study("A"), study("B"), study("A", "2")
    for items in zip(one, two, again, strict=True):
        bench.receive(list(items))
    assert bench.run() == 3
    assert len(bench.server.asked) == 3
    found = {(i.PatientID, i.StudyInstanceUID) for i in pacs.kept.values()}
    assert found == {(i.PatientID, i.StudyInstanceUID) for i in (one[0], two[0], again[0])}
    assert pacs.kinds() == sorted(3 * ANSWER)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PatientBirthDate": "", "PatientAge": ""}, "study: no age"),
        ({"PatientID": "OTHER"}, "study: images of several patients"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_reason(
    bench: Bench, pacs: Archive, change: dict[str, str], reason: str
) -> None:
    items = study()
    for item in items if "PatientAge" in change else items[:1]:
        for name, value in change.items():
            setattr(item, name, value)
    bench.receive(items)
    bench.run()
    assert (bench.phases(), _reasons(bench)) == (["refused"], [reason])
    assert bench.server.asked == []
    assert pacs.kept == {}


def test_a_gantry_tilt_is_refused_with_the_series_named(bench: Bench) -> None:
    items = study()
    for index, item in enumerate(i for i in items if i.SeriesNumber == 7):
        x, y, z = item.ImagePositionPatient
        item.ImagePositionPatient = [x, y + 2.0 * index, z]
    bench.receive(items)
    bench.run()
    (reason,) = _reasons(bench)
    assert "T1C, series 7: slices shifted" in reason


def test_the_servers_refusal_is_the_studys(bench: Bench, pacs: Archive) -> None:
    bench.server.trouble = [Refused("t2", "shows 12 % of the brain only", "give another")]
    bench.receive(study())
    bench.run()
    assert _reasons(bench) == ["t2: shows 12 % of the brain only"]
    assert pacs.kept == {}


@pytest.mark.parametrize("away", [Unreachable("server", "nothing", "x"), Busy("full")])
def test_a_server_that_is_away_is_asked_again_with_growing_pauses(
    bench: Bench, pacs: Archive, away: Exception
) -> None:
    bench.server.trouble = [away] * 12
    bench.receive(study())
    bench.run()
    tried = 1
    while bench.phases() == ["waiting"] and tried < 30:
        (before,) = bench.state.studies()
        assert bench.run(seconds=before.due - bench.clock.now - 0.001) == 0
        assert bench.run(seconds=0.002) == 1
        tried += 1
    assert tried == 13
    assert pacs.kinds() == ANSWER


def test_a_full_disk_or_a_missing_certificate_is_waited_for(bench: Bench, pacs: Archive) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    bench.server.trouble = [full] * (MOST_FAULTS + 2)  # type: ignore[list-item]
    bench.receive(study())
    bench.run()
    assert _reasons(bench) == ["disk or settings: No space left on device"]
    for _ in range(MOST_FAULTS + 2):
        bench.run(seconds=700.0)
    assert pacs.kinds() == ANSWER


def test_a_study_on_which_the_server_stumbles_is_given_up(bench: Bench) -> None:
    bench.server.trouble = [ServerTrouble("INTERNAL")] * 30
    bench.receive(study())
    for _ in range(40):
        bench.run(seconds=700.0)
    assert bench.phases() == ["failed"]
    assert len(bench.server.trouble) == 30 - MOST_FAULTS


def test_an_archive_that_refuses_gets_the_same_answer_later(bench: Bench, pacs: Archive) -> None:
    pacs.refusals = [0, 0xA700, 0xA700]
    bench.receive(study())
    bench.run()
    assert bench.phases() == ["waiting"]
    assert _reasons(bench) == ["send: the DICOM node refuses SR objects (A700)"]
    for _ in range(4):
        bench.run(seconds=700.0)
    assert bench.phases() == ["done"]
    assert len(bench.server.asked) == 1
    assert pacs.kinds() == ANSWER


def test_an_image_that_comes_while_its_study_is_answered_is_not_forgotten(
    bench: Bench, pacs: Archive
) -> None:
    late = study(only="t2")
    early = [i for i in study() if i.SeriesNumber != 4]
    bench.server.reads = ("t1c", "flair", "age")
    bench.receive(early)
    ask = bench.server.predict

    def predict(**told: object) -> object:
        bench.receive(late)
        return ask(**told)  # type: ignore[arg-type]

    bench.server.predict = predict  # type: ignore[method-assign, assignment]
    bench.run()
    assert bench.phases() == ["receiving"]
    assert bench.run() == 1
    assert bench.phases() == ["done"]
    assert pacs.kinds() == ANSWER


def test_nothing_that_is_logged_or_kept_of_a_refusal_names_anybody(
    bench: Bench, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.server.trouble = [ServerTrouble("INTERNAL")]
    with caplog.at_level("DEBUG"):
        bench.receive(study())
        bench.receive(study("Doe-Jane", only="t1"))
        bench.run()
        bench.run()
    told = caplog.text + "".join(capfd.readouterr()) + " ".join(_reasons(bench))
    words = [*map(str, SECRETS.values()), "Doe-Jane", study()[0].StudyInstanceUID]
    assert told
    assert not [word for word in words if word in told]


def test_studies_in_a_row_fit_a_disk_that_holds_two(tmp_path: Path, pacs: Archive) -> None:
    bench = Bench(tmp_path / "gateway", pacs, limit_mb=10)
    bench.server.reads = ("t1c", "age")
    for number in range(12):
        items = study(f"P{number}", only="t1c")
        for item in items:
            item.ImageComments = "x" * 10_000
        bench.receive(items)
        bench.run()
        assert bench.spool.used <= 10 << 20
    assert bench.phases() == ["done"] * 12
    assert len(bench.server.asked) == 12
    assert pacs.kinds() == sorted(12 * ANSWER)
