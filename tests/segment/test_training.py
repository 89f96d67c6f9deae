"""Training: it learns, it survives kills bitwise, processes share it, bad input ends it cleanly."""

import csv
import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors import safe_open

from components.core.errors import BadInput
from components.core.files import read_json, sha256_file
from components.segment.data.sampling import MemberCases
from components.segment.inference.segmenter import Segmenter
from components.segment.settings import Norm, Precision, SegmentSettings, UNetSettings
from components.segment.training import member as loop
from components.segment.training.member import LAST
from components.segment.training.processes import Process
from components.segment.training.state import learning_rate
from components.segment.training.train import CHECKPOINTS, train_segmenter
from components.training import weights
from tests.factories import make_prepared_case, make_prepared_set

ROOT = Path(__file__).resolve().parents[2]

TINY = SegmentSettings(
    network=UNetSettings(width=4, levels=3, dropout=0.2),
    crop=(16, 16, 16),
    steps=12,
    evaluate_every=6,
    checkpoint_every=3,
    learning_rate=3e-3,
    threads=1,
    seed=7,
)


def with_(**changes: object) -> SegmentSettings:
    return TINY.model_copy(update=changes)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prepared_set(tmp_path_factory.mktemp("prepared"), 6)


def test_it_learns_to_find_the_tumour(tmp_path, prepared) -> None:
    settings = with_(
        network=UNetSettings(width=8, levels=3, dropout=0.1),
        steps=150,
        evaluate_every=50,
        learning_rate=5e-3,
        ema_decay=0.9,
    )
    seen: list[tuple[int, int]] = []
    train_segmenter([prepared], settings, tmp_path, progress=lambda d, t, _: seen.append((d, t)))
    content = read_json(tmp_path / "model.json")
    assert content["tuning_dice"]["mean"] > 0.75
    assert content["trained_on"] == "phantoms"
    assert content["members"][0]["sha256"] == sha256_file(tmp_path / "member_0.safetensors")
    assert seen[-1] == (150, 150)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [50, 100, 150]
    assert float(rows[0]["loss"]) > float(rows[-1]["loss"])
    assert not (tmp_path / CHECKPOINTS).exists()
    segmenter = Segmenter.load(tmp_path)
    case = make_prepared_case(99)
    mask = segmenter.rule.mask(segmenter.case_probability(case), case.grid, case.working)
    assert 2 * (mask & case.tumor_working).sum() / (mask.sum() + case.tumor_working.sum()) > 0.6


def test_folds_give_members_that_have_not_seen_their_fold(tmp_path) -> None:
    folder = make_prepared_set(tmp_path / "set", 6, folds=3)
    train_segmenter([folder], with_(steps=3), tmp_path / "out")
    content = read_json(tmp_path / "out" / "model.json")
    assert [member["fold"] for member in content["members"]] == [0, 1, 2]
    for member in content["members"]:
        assert len(member["held_out_patients"]) == 2
        assert not set(member["held_out_patients"]) & set(member["training_patients"])
    rows = list(csv.DictReader((tmp_path / "out" / "tuning.csv").open()))
    assert len(rows) == 6
    assert content["tuning_dice"]["patients"] == 6


_RUN = """
import sys
from pathlib import Path
from components.segment.settings import SegmentSettings
from components.segment.training.train import train_segmenter
prepared, out, settings = sys.argv[1:]
train_segmenter(
    [Path(prepared)], SegmentSettings.model_validate_json(settings), Path(out),
    progress=lambda done, total, what: print(done, flush=True),
)
"""


def _start(prepared: Path, out: Path, settings: SegmentSettings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, str(prepared), str(out), settings.model_dump_json()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_members_side_by_side_are_those_trained_in_turn(tmp_path) -> None:
    folder = make_prepared_set(tmp_path / "set", 6, folds=3)
    seen: list[tuple[int, int]] = []
    for at_once in (1, 2):
        settings = with_(steps=3, members_at_once=at_once)
        out = tmp_path / str(at_once)
        train_segmenter([folder], settings, out, progress=lambda d, t, _: seen.append((d, t)))
    assert seen[-1] == (9, 9)
    for k in range(3):
        one, two = (sha256_file(tmp_path / n / f"member_{k}.safetensors") for n in ("1", "2"))
        assert one == two


def test_one_failing_member_stops_the_others(tmp_path) -> None:
    folder = make_prepared_set(tmp_path / "set", 6, folds=3)
    settings = with_(steps=100_000, members_at_once=2)
    broken = tmp_path / "out" / CHECKPOINTS / "member_1" / LAST
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"cut")
    with pytest.raises(BadInput, match=LAST):
        train_segmenter([folder], settings, tmp_path / "out")


def test_a_killed_run_leaves_no_member_behind(tmp_path) -> None:
    folder = make_prepared_set(tmp_path / "set", 6, folds=3)
    settings = with_(steps=100_000, members_at_once=2)
    process = _start(folder, tmp_path / "out", settings)
    for line in process.stdout:
        if int(line) > 0:
            break
    members = psutil.Process(process.pid).children(recursive=True)
    assert len(members) >= 2
    process.kill()
    _, alive = psutil.wait_procs(members, timeout=60)
    assert not alive


@pytest.mark.parametrize("norm", list(Norm))
def test_a_run_killed_at_a_random_step_continues_bitwise(tmp_path, prepared, norm) -> None:
    network = UNetSettings(width=4, levels=3, dropout=0.2, norm=norm)
    settings = with_(
        network=network, steps=14, checkpoint_every=2, precision=Precision.BFLOAT16, batch_dice=True
    )
    train_segmenter([prepared], settings, tmp_path / "unbroken")
    victim = random.SystemRandom().randint(3, 12)
    process = _start(prepared, tmp_path / "broken", settings)
    for line in process.stdout:
        if int(line) == victim:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL, f"killed at {victim}"
    assert not (tmp_path / "broken" / "model.json").exists()
    last = tmp_path / "broken" / CHECKPOINTS / "member_0" / LAST
    with safe_open(last, framework="pt") as stream:
        reached = json.loads(stream.metadata()["glioflow"])["state"]["done"]
    assert 2 <= reached <= victim
    train_segmenter([prepared], settings, tmp_path / "broken")
    for name in ("member_0.safetensors", "model.json", "tuning.csv"):
        one, two = (tmp_path / run / name for run in ("unbroken", "broken"))
        assert one.read_bytes() == two.read_bytes(), f"{name} differs after a kill at {victim}"


def test_a_member_that_is_done_is_not_trained_again(tmp_path, prepared) -> None:
    kept = tmp_path / "volume"
    train_segmenter([prepared], TINY, tmp_path / "a", checkpoints=kept)
    assert list(kept.iterdir()) == []
    assert (tmp_path / "a" / "model.json").is_file()


def test_early_stop_keeps_the_best_average(tmp_path, prepared) -> None:
    settings = with_(steps=200, evaluate_every=4, patience=2, learning_rate=1e-9)
    train_segmenter([prepared], settings, tmp_path)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    dices = [float(row["tuning_dice"]) for row in rows]
    assert len(rows) < 50
    assert max(dices[-2:]) <= max(dices[:-2])


def test_a_loss_that_is_not_finite_names_the_patients_and_keeps_the_checkpoint(
    tmp_path, prepared, monkeypatch
) -> None:
    real = loop.augment_volume

    def poison(volumes, masks, *rest):
        poison.calls += 1
        x, target = real(volumes, masks, *rest)
        return (x * float("nan") if poison.calls > 10 else x), target

    poison.calls = 0
    monkeypatch.setattr(loop, "augment_volume", poison)
    with pytest.raises(BadInput, match=r"case-00\d, case-00\d.*not finite at step 5"):
        train_segmenter([prepared], TINY, tmp_path)
    assert (tmp_path / CHECKPOINTS / "member_0" / LAST).is_file()
    monkeypatch.setattr(loop, "augment_volume", real)
    train_segmenter([prepared], TINY, tmp_path)
    train_segmenter([prepared], TINY, tmp_path / "clean")
    one, two = (folder / "member_0.safetensors" for folder in (tmp_path, tmp_path / "clean"))
    assert one.read_bytes() == two.read_bytes()


def test_a_full_disk_is_said_and_the_last_checkpoint_survives(
    tmp_path, prepared, monkeypatch
) -> None:
    real = weights.save_file
    saved = []

    def fill(tensors, path, metadata):
        if len(saved) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saved.append(path)
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(weights, "save_file", fill)
    with pytest.raises(BadInput, match="no space left"):
        train_segmenter([prepared], with_(evaluate_every=0), tmp_path)
    folder = tmp_path / CHECKPOINTS / "member_0"
    assert [file.name for file in folder.iterdir()] == [LAST]
    with safe_open(folder / LAST, framework="pt") as stream:
        assert json.loads(stream.metadata()["glioflow"])["state"]["done"] == 6


def _interrupted(tmp_path: Path, prepared: Path) -> Path:
    def stop(done: int, total: int, what: str) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_segmenter([prepared], TINY, tmp_path, progress=stop)
    return tmp_path / CHECKPOINTS / "member_0" / LAST


def test_a_truncated_checkpoint_is_refused_with_its_name(tmp_path, prepared) -> None:
    last = _interrupted(tmp_path, prepared)
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"last\.safetensors: not a whole checkpoint.*delete"):
        train_segmenter([prepared], TINY, tmp_path)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, prepared) -> None:
    _interrupted(tmp_path, prepared)
    wider = with_(network=UNetSettings(width=8, levels=3, dropout=0.2))
    with pytest.raises(BadInput, match=r"architecture is .*'width': 4.*'width': 8"):
        train_segmenter([prepared], wider, tmp_path)


def test_a_checkpoint_of_other_cases_is_refused(tmp_path, prepared) -> None:
    _interrupted(tmp_path, prepared)
    other = make_prepared_set(tmp_path / "other", 8)
    with pytest.raises(BadInput, match="its run is"):
        train_segmenter([other], TINY, tmp_path)


def test_no_memory_left_names_the_settings_to_lower(tmp_path, prepared, monkeypatch) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop.DeepSupervision, "forward", exhausted)
    with pytest.raises(BadInput, match=r"lower segment\.batch_size"):
        train_segmenter([prepared], TINY, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_gpu_is_said(tmp_path, prepared) -> None:
    settings = SegmentSettings.model_validate({**TINY.model_dump(), "device": "cuda"})
    with pytest.raises(BadInput, match=r"segment\.device = cuda: no CUDA device"):
        train_segmenter([prepared], settings, tmp_path)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = with_(steps=100, warmup=0.1, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert np.diff(rates[:10]).min() > 0
    assert np.diff(rates[10:]).max() < 0
    assert rates[-1] < 1e-3


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path, prepared) -> None:
    settings = with_(
        network=UNetSettings(width=4, levels=3, dropout=0.2),
        precision=Precision.FLOAT32,
        batch_size=4,
        steps=4,
        evaluate_every=0,
    )
    train_segmenter([prepared], settings, tmp_path / "one")
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(script), str(prepared), str(tmp_path / "two"), settings.model_dump_json()],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    one, two = (Segmenter.load(tmp_path / name).networks[0].state_dict() for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-5, rtol=1e-3)


def test_an_evaluation_looks_at_so_many_held_out_cases_at_most(
    tmp_path, prepared, monkeypatch
) -> None:
    asked = []

    def answer(network, volumes, brain, **kwargs):
        asked.append(volumes)
        return torch.zeros(brain.shape)

    monkeypatch.setattr(loop, "probability_map", answer)
    monkeypatch.setattr(loop, "MONITORED", 3)
    case = make_prepared_case(1)
    member = MemberCases(0, None, (case,), (case,) * 7)
    folder = loop.MemberTraining(member, TINY, Process(0, 1, torch.device("cpu")), tmp_path)
    folder.held_out_dice()
    assert len(asked) == 3
