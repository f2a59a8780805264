"""Where the trainer would go on is the latest, whatever was written or copied last."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt import protocol, refs, scan
from ckpt.retention import Situation, merge
from ckpt.scan.names import is_newest


def save(path: Path, step: int, age_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step, "model": {"w": torch.full((4,), float(step))}}, path)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def trainer(directory: Path, step: int, age_s: float, best: str | None = None) -> Path:
    directory.mkdir(parents=True)
    save_file({"w": torch.full((8,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    state = {"global_step": step, "epoch": 1.0, "log_history": [], "best_model_checkpoint": best, "best_metric": 0.5}
    (directory / "trainer_state.json").write_text(json.dumps(state))
    for path in directory.iterdir():
        os.utime(path, (time.time() - age_s,) * 2)
    return directory


def order(directory: Path) -> list[int | None]:
    """The steps, newest first, as the daemon has them, which must be as its clients have them."""
    view = scan.read_run(directory)
    told = [protocol.checkpoint_from_json(protocol.checkpoint_to_json(c)) for c in reversed(view.checkpoints)]
    assert [c.id for c in refs.newest_first(told)] == [c.id for c in view.checkpoints]
    assert view.run.latest == next(c.id for c in view.checkpoints if c.state == "complete")
    return [c.step for c in view.checkpoints]


@pytest.mark.parametrize("pointer", ["latest", "last_checkpoint"])
def test_a_pointer_file_goes_before_time(tmp_path: Path, pointer: str) -> None:
    for step, age_s in ((10, 100), (20, 500), (30, 300)):
        save(tmp_path / f"model_{step:07}.pth", step, age_s)
    assert order(tmp_path) == [10, 30, 20]
    (tmp_path / pointer).write_text("model_0000020.pth\n")
    assert order(tmp_path) == [20, 10, 30]


@pytest.mark.parametrize("link", ["last.pt", "checkpoint_latest.pth"])
@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_a_link_with_a_name_for_the_newest_goes_before_time(tmp_path: Path, link: str, make: object) -> None:
    save(tmp_path / "a_step_20.pt", 20, 500)
    save(tmp_path / "a_step_10.pt", 10, 100)
    os.symlink("a_step_10.pt", tmp_path / "best.pt")
    assert order(tmp_path) == [10, 20]
    if make is os.symlink:
        os.symlink("a_step_20.pt", tmp_path / link)
    else:
        os.link(tmp_path / "a_step_20.pt", tmp_path / link)
    assert order(tmp_path) == [20, 10]


@pytest.mark.parametrize(
    ("name", "newest"),
    [
        ("last", True),
        ("last.ckpt", True),
        ("last-v1.ckpt", True),
        ("latest_model.pth", True),
        ("model_latest.pth.tar", True),
        ("best.pt", False),
        ("best_last.pt", False),
        ("last_good.pt", False),
        ("final.pt", False),
        ("blast.pt", False),
    ],
)
def test_names_for_the_newest(name: str, newest: bool) -> None:
    assert is_newest(name) is newest


def test_a_link_to_the_directory_of_a_step_names_what_lies_in_it(tmp_path: Path) -> None:
    for step, age_s in ((10, 500), (20, 300), (30, 100)):
        save(tmp_path / f"step_{step}" / "model.pt", step, age_s)
    os.symlink("step_10", tmp_path / "best")
    os.symlink("step_20", tmp_path / "latest")
    assert order(tmp_path) == [20, 30, 10]
    held = {c.step: c.held_by for c in scan.read_run(tmp_path).checkpoints}
    assert held == {10: ("also named best",), 20: ("also named latest",), 30: ()}
    assert scan.run_of(tmp_path / "best") == (tmp_path, tmp_path / "step_10" / "model.pt")


def test_a_link_to_another_run_is_no_name_of_anything_here(tmp_path: Path) -> None:
    save(tmp_path / "other" / "step_10" / "model.pt", 10, 500)
    save(tmp_path / "run" / "model.pt", 20, 500)
    os.symlink("../other/step_10", tmp_path / "run" / "latest")
    assert [c.held_by for c in scan.read_run(tmp_path / "run").checkpoints] == [()]


def test_a_pointer_may_name_the_directory_of_a_step(tmp_path: Path) -> None:
    save(tmp_path / "step_10" / "model.pt", 10, 500)
    save(tmp_path / "step_20" / "model.pt", 20, 100)
    (tmp_path / "latest").write_text("step_10")
    assert order(tmp_path) == [10, 20]
    assert scan.read_run(tmp_path).run.problems == ()


def test_the_trainer_resumes_from_the_highest_number(tmp_path: Path) -> None:
    """As `transformers.trainer_utils.get_last_checkpoint` chooses; a copy made the other way round changes nothing."""
    trainer(tmp_path / "checkpoint-6", 6, 100, best=str(tmp_path / "checkpoint-6"))
    trainer(tmp_path / "checkpoint-8", 8, 500, best=str(tmp_path / "checkpoint-8"))
    trainer(tmp_path / "checkpoint-10", 10, 300)
    (tmp_path / "checkpoint-10" / "checkpoint-is-incomplete.txt").touch()
    os.utime(tmp_path / "checkpoint-10" / "checkpoint-is-incomplete.txt", (time.time() - 300,) * 2)
    assert order(tmp_path) == [8, 6, 10]
    pointed = [c.step for c in scan.read_run(tmp_path).checkpoints if c.pointed]
    assert pointed == [8]


def accelerate(directory: Path, steps: int, age_s: float) -> None:
    """As `Accelerator.save_state` writes it, whose number counts saves."""
    directory.mkdir(parents=True)
    save_file({"w": torch.full((8,), float(steps))}, directory / "model.safetensors")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.bin")
    torch.save({"last_epoch": steps, "_step_count": steps + 1}, directory / "scheduler.bin")
    torch.save({"step": 0, "random_state": None}, directory / "random_states_0.pkl")
    for path in directory.iterdir():
        os.utime(path, (time.time() - age_s,) * 2)


@pytest.mark.parametrize("name", ["checkpoints/checkpoint_{}", "checkpoint-{}"])
def test_accelerate_loads_the_highest_number(tmp_path: Path, name: str) -> None:
    """A loop that was started again without `iteration` counts from 0; `load_state()` still takes the highest."""
    for number, steps, age_s in ((0, 10, 100), (1, 12, 50), (9, 18, 500), (10, 20, 400)):
        accelerate(tmp_path / name.format(number), steps, age_s)
    found = scan.read_run(tmp_path).checkpoints
    assert [os.path.basename(c.path) for c in found] == [os.path.basename(name).format(n) for n in (10, 1, 0, 9)]
    assert [c.pointed for c in found] == [True, False, False, False]


def test_what_ray_saved_last_is_the_latest(tmp_path: Path) -> None:
    for number, age_s in enumerate((100, 500, 300)):
        save(tmp_path / f"checkpoint_00000{number}" / "model.pt", number, age_s)
    results = [{"checkpoint_dir_name": f"checkpoint_00000{n}", "metrics": {}} for n in range(3)]
    snapshot = {"checkpoint_results": results, "latest_checkpoint_result": results[1]}
    (tmp_path / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    pointed = [os.path.basename(c.path) for c in scan.read_run(tmp_path).checkpoints if c.pointed]
    assert pointed == ["checkpoint_000001"]
    assert order(tmp_path)[0] == scan.read_run(tmp_path).checkpoints[0].step


def test_a_stale_pointer_leaves_the_newest_by_time_alone(tmp_path: Path) -> None:
    """A copy, or a trainer that was killed between its save and its pointer, leaves `latest` behind."""
    for step, age_s in ((10, 500), (20, 400), (30, 300), (40, 200)):
        path = tmp_path / f"global_step{step}.pt"
        content = {"global_step": step, "model": {"w": torch.full((4,), float(step))}}
        torch.save({**content, "optimizer": {"state": {0: {"m": torch.zeros(4)}}, "param_groups": []}}, path)
        os.utime(path, (time.time() - age_s,) * 2)
    (tmp_path / "latest").write_text("global_step20.pt")
    asked = merge([("root", {"keep_last": 1, "min_age": 0, "max_share": 1, "unmonitored": True})])
    enforced = Situation(own=False, enforced=True, own_policy=False)
    view = scan.governed(scan.read_run(tmp_path), asked, enforced, time.time() + 1000)
    assert {d.checkpoint.step for d in view.plan.keep} == {20, 40}
    assert {d.checkpoint.step for d in view.plan.remove} == {10, 30}
