"""Checkpoints on disk: whole or absent, the newest good ones kept."""

import pytest
import torch

from training.state import Checkpoints, Progress, find_defect


def save(checkpoints, step):
    flat = {"weight": torch.full((3,), float(step))}
    checkpoints.save(flat, Progress(step=step, samples_seen=step), lambda folder: None)
    flat["weight"].zero_()  # what is written is a copy
    checkpoints.wait()


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        save(checkpoints, step)
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == [
        "step-000000002",
        "step-000000003",
    ]
    path, progress = checkpoints.newest()
    assert path.name == "step-000000003"
    assert progress.step == 3


def test_a_damaged_later_one_does_not_push_out_a_good_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 21)
    save(Checkpoints(tmp_path, keep=9), 24)
    (checkpoints.folder / "step-000000024" / "complete.json").unlink()
    assert checkpoints.newest()[1].step == 21
    save(checkpoints, 22)
    assert checkpoints.newest()[1].step == 22
    save(checkpoints, 24)  # replaces the damaged one
    assert checkpoints.newest()[1].step == 24
    kept = sorted(path.name for path in checkpoints.folder.iterdir())
    assert kept == ["damaged-step-000000024", "step-000000024"]


def test_a_run_of_damaged_checkpoints_is_not_begun_anew_in_silence(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 3)
    (checkpoints.folder / "step-000000003" / "complete.json").unlink()
    with pytest.raises(ValueError, match=r"every checkpoint of the run is damaged .*000000003"):
        checkpoints.newest()


def test_what_an_interrupted_save_left_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    (checkpoints.folder / ".step-000000005.tmp" / "state").mkdir(parents=True)
    assert checkpoints.newest() is None
    checkpoints.clean()
    assert list(checkpoints.folder.iterdir()) == []


def test_every_kind_of_damage_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1)
    path = checkpoints.folder / "step-000000001"
    assert find_defect(path) is None
    file = path / "state" / "progress.json"
    text = file.read_text()
    file.write_text(text.replace("1", "2", 1))
    assert find_defect(path) == "state/progress.json is not as it was written"
    file.unlink()
    assert find_defect(path) == "state/progress.json is missing"
