"""Nothing that was acknowledged is lost, and the disk holds no more than it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.pacs.gateway.spool import MIB, Spool, SpoolFull, study_key
from serving.pacs.gateway.state import LONGEST_PAUSE_S, GatewayState, Phase
from tests.serving.pacs.parts import Clock

HALF = b"x" * (MIB // 2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> GatewayState:
    return GatewayState(tmp_path / "s.sqlite", clock)


@pytest.fixture
def spool(tmp_path: Path, state: GatewayState) -> Spool:
    return Spool(tmp_path / "spool", state, limit_mb=1, quiet_s=60.0)


def _end(state: GatewayState, uid: str) -> None:
    (study,) = [s for s in state.studies() if s.study_uid == uid]
    state.end(study, Phase.DONE)


def test_a_finished_study_makes_room_and_an_open_one_does_not(
    spool: Spool, state: GatewayState
) -> None:
    assert spool.store("1", "a", HALF)
    assert spool.store("2", "b", HALF)
    with pytest.raises(SpoolFull, match="spool_mb"):
        spool.store("3", "c", HALF)
    _end(state, "2")
    assert spool.store("3", "c", HALF)
    assert len(spool.images(study_key("1"))) == 1
    assert spool.images(study_key("2")) == []
    assert spool.used == MIB


def test_a_study_never_makes_room_for_itself(spool: Spool, state: GatewayState) -> None:
    """A series of which a part was forgotten would be taken for the series."""
    spool.store("1", "a", HALF)
    spool.store("1", "b", HALF)
    _end(state, "1")
    with pytest.raises(SpoolFull):
        spool.store("1", "c", HALF)
    assert len(spool.images(study_key("1"))) == 2


def test_an_image_twice_is_one_image(spool: Spool) -> None:
    assert spool.store("1", "a", b"first")
    assert not spool.store("1", "a", b"second")
    (file,) = spool.images(study_key("1"))
    assert file.read_bytes() == b"first"
    assert spool.used == 5


def test_news_that_a_kill_cut_off_come_with_the_image_sent_again(
    spool: Spool, state: GatewayState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.store("1", "a", b"one")
    _end(state, "1")
    clock.now += 100.0

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(state, "arrived", killed)
        spool.store("1", "b", b"two")
    assert state.studies()[0].phase is Phase.DONE

    assert not spool.store("1", "b", b"two")
    assert state.studies()[0].phase is Phase.RECEIVING


def test_what_writing_left_behind_goes_at_the_next_start(
    spool: Spool, state: GatewayState, tmp_path: Path
) -> None:
    spool.store("1", "a", b"one")
    folder = tmp_path / "spool"
    (folder / "studies" / study_key("1") / ".0123-cut.dcm").write_bytes(HALF)
    cut = folder / "answers" / "key" / ".0123-digest"
    cut.mkdir(parents=True)
    (cut / "report.dcm").write_bytes(HALF)
    assert len(spool.images(study_key("1"))) == 1
    again = Spool(folder, state, limit_mb=1, quiet_s=60.0)
    assert again.used == 3
    assert not cut.exists()


def test_an_answer_is_there_whole_or_not_at_all(spool: Spool) -> None:
    with pytest.raises(ValueError, match="cut"), spool.answering("k", "d") as folder:
        (folder / "report.dcm").write_bytes(b"half")
        raise ValueError("cut")
    assert not spool.answer("k", "d").exists()
    with spool.answering("k", "d") as folder:
        (folder / "report.dcm").write_bytes(b"whole")
    assert (spool.answer("k", "d") / "report.dcm").read_bytes() == b"whole"
    assert spool.used == 5


def test_pauses_double_up_to_the_longest(state: GatewayState, clock: Clock) -> None:
    state.arrived("k", "1", 0.0)
    pauses = []
    for _ in range(12):
        study = state.next_due()
        assert study is not None
        state.postpone(study, "away")
        (after,) = state.studies()
        pauses.append(after.due - clock.now)
        clock.now = after.due
    assert pauses[:4] == pytest.approx([5.0, 10.0, 20.0, 40.0])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)


def test_an_end_does_not_cover_an_image_that_came_meanwhile(
    state: GatewayState, clock: Clock
) -> None:
    state.arrived("k", "1", 0.0)
    study = state.next_due()
    assert study is not None
    state.arrived("k", "1", 0.0)
    state.end(study, Phase.DONE)
    assert state.studies()[0].phase is Phase.RECEIVING


def test_what_ended_expires_and_is_remembered(
    spool: Spool, state: GatewayState, clock: Clock
) -> None:
    spool.store("1", "a", b"one")
    spool.store("2", "b", b"two")
    _end(state, "1")
    spool.expire(clock.now + 1.0)
    assert [s.study_uid for s in state.studies() if spool.images(s.key)] == ["2"]
    assert {s.study_uid for s in state.studies()} == {"1", "2"}
    assert spool.used == 3
