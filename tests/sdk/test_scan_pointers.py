"""What the trainer's own files and states name is held, in vain is a problem, and with ill will does no harm."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import scan
from ckpt.retention import Policy, plan
from ckpt.scan import RunView


def checkpoint(path: Path, step: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step, "model": {"w": torch.full((4,), float(step))}}, path)
    os.utime(path, (time.time() - 10_000 + step,) * 2)
    return path


def hugging_face(directory: Path, step: int, best: str | None = None) -> Path:
    directory.mkdir(parents=True)
    save_file({"w": torch.full((64,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    state = {"global_step": step, "epoch": 1.0, "log_history": [], "best_model_checkpoint": best, "best_metric": 0.5}
    (directory / "trainer_state.json").write_text(json.dumps(state))
    for path in directory.iterdir():
        os.utime(path, (time.time() - 10_000 + step,) * 2)
    return directory


def held(view: RunView) -> dict[str, tuple[str, ...]]:
    return {os.path.relpath(c.path, view.run.path): c.held_by for c in view.checkpoints if c.held_by}


@pytest.mark.parametrize("place", ["", "/moved/from/elsewhere/", "./"])
def test_the_best_of_the_newest_state_is_held_and_survives_a_policy(tmp_path: Path, place: str) -> None:
    where = place or f"{tmp_path}/"
    hugging_face(tmp_path / "checkpoint-100", 100, best=f"{where}checkpoint-100")
    hugging_face(tmp_path / "checkpoint-200", 200, best=f"{where}checkpoint-200")
    hugging_face(tmp_path / "checkpoint-300", 300, best=f"{where}checkpoint-200")
    view = scan.read_run(tmp_path)
    assert held(view) == {"checkpoint-200": ("best_model_checkpoint of checkpoint-300",)}
    assert view.run.problems == ()
    decided = plan(view.checkpoints, Policy(keep_last=1), time.time())
    assert [os.path.basename(d.checkpoint.path) for d in decided.remove] == ["checkpoint-100"]


def test_a_newer_checkpoint_that_names_nothing_takes_no_protection_away(tmp_path: Path) -> None:
    hugging_face(tmp_path / "checkpoint-100", 100, best=str(tmp_path / "checkpoint-100"))
    hugging_face(tmp_path / "checkpoint-200", 200, best=str(tmp_path / "checkpoint-100"))
    save_file({"w": torch.ones(4)}, tmp_path / "model.safetensors")
    assert held(scan.read_run(tmp_path)) == {"checkpoint-100": ("best_model_checkpoint of checkpoint-200",)}


def test_an_incomplete_checkpoint_is_not_asked(tmp_path: Path) -> None:
    hugging_face(tmp_path / "checkpoint-100", 100, best="checkpoint-100")
    unfinished = hugging_face(tmp_path / "checkpoint-200", 200, best="checkpoint-200")
    (unfinished / "checkpoint-is-incomplete.txt").touch()
    assert held(scan.read_run(tmp_path)) == {"checkpoint-100": ("best_model_checkpoint of checkpoint-100",)}


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("last_checkpoint", "model_0000200.pth", "model_0000200.pth"),
        ("last_checkpoint", "/old/home/work_dir/model_0000200.pth\n", "model_0000200.pth"),
        ("latest_checkpointed_iteration.txt", "200", "iter_0000200.pt"),
        ("checkpoints/latest", "a.pt", "checkpoints/a.pt"),
        ("checkpoints/last_checkpoint", "model_0000200.pth", "model_0000200.pth"),
    ],
)
def test_a_file_that_names_a_checkpoint_holds_it(tmp_path: Path, file: str, text: str, name: str) -> None:
    for number, other in enumerate(("model_0000200.pth", "iter_0000100.pt", "checkpoints/a.pt", "checkpoints/b.pt")):
        checkpoint(tmp_path / other, number)
    if name == "iter_0000200.pt":
        hugging_face(tmp_path / "iter_0000200", 200)
        name = "iter_0000200"
        (tmp_path / name / "optimizer.pt").unlink()
        torch.save({"iteration": 200, "args": None}, tmp_path / name / "common.pt")
    (tmp_path / file).write_text(text)
    assert held(scan.read_run(tmp_path)) == {name: (f"named by {file}",)}


def test_what_ray_keeps_is_held(tmp_path: Path) -> None:
    for number in range(3):
        checkpoint(tmp_path / f"checkpoint_00000{number}" / "model.pt", number)
    results = [{"checkpoint_dir_name": f"checkpoint_00000{n}", "metrics": {"loss": 1.0}} for n in (0, 2)]
    snapshot = {"checkpoint_results": results, "latest_checkpoint_result": results[1]}
    for text in (json.dumps(snapshot), json.dumps(json.dumps(snapshot))):
        (tmp_path / "checkpoint_manager_snapshot.json").write_text(text)
        found = held(scan.read_run(tmp_path))
        assert found.keys() == {"checkpoint_000000", "checkpoint_000002"}
        assert set(found.values()) == {("named by checkpoint_manager_snapshot.json",)}


def test_a_pointer_to_nothing_is_a_problem(tmp_path: Path) -> None:
    hugging_face(tmp_path / "checkpoint-200", 200, best="/elsewhere/checkpoint-50")
    (tmp_path / "last_checkpoint").write_text("model_\x1b[31m.pth")
    view = scan.read_run(tmp_path)
    assert held(view) == {}
    assert sorted(view.run.problems) == [
        "/elsewhere/checkpoint-50, best_model_checkpoint of checkpoint-200, is not there",
        "model_\\x1b[31m.pth, named by last_checkpoint, is not there",
    ]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _write(content: bytes) -> Any:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize("name", ["latest", "checkpoint_manager_snapshot.json"])
@pytest.mark.parametrize(
    "make",
    [
        _write(b""),
        _write(b"\xff\xfe\x00\x00"),
        _write(b"a\nb\nc"),
        _write(b"[" * 100_000),
        _write(b"[1, 2]"),
        _write(b'{"checkpoint_results": {"a": 1}, "latest_checkpoint_result": [1]}'),
        _write(b'{"checkpoint_results": [{"checkpoint_dir_name": 7}, 3]}'),
        _write(b"x" * 5000),
        lambda path: path.mkdir(),
        _fifo,
        lambda path: path.symlink_to(path.name),
        lambda path: os.truncate(path, 1 << 40) if path.write_bytes(b"{") else None,
    ],
)
def test_a_pointer_that_makes_no_sense_hides_nothing(tmp_path: Path, name: str, make: Any) -> None:
    checkpoint(tmp_path / "a.pt", 1)
    make(tmp_path / name)
    view = scan.read_run(tmp_path)
    assert [c.step for c in view.checkpoints] == [1] and held(view) == {}
    assert len(view.run.problems) <= 1


def test_a_pointer_leads_nowhere_outside_of_its_run(tmp_path: Path) -> None:
    checkpoint(tmp_path / "other" / "a.pt", 1)
    checkpoint(tmp_path / "run" / "b.pt", 2)
    (tmp_path / "run" / "latest").write_text("../other/a.pt")
    view = scan.read_run(tmp_path / "run")
    assert held(view) == {} and len(view.run.problems) == 1


def test_the_real_trainer_names_its_best(produced: Any) -> None:
    base = produced("transformers")
    expected = json.loads((base / "expected.json").read_text())["checkpoints"]
    named = 0
    for path in scan.find_runs(base):
        view = scan.read_run(path)
        newest = max((c for c in view.checkpoints if c.step is not None), key=lambda c: c.step or 0, default=None)
        told = {} if newest is None else expected.get(os.path.relpath(newest.path, base), {})
        if told.get("best_model_checkpoint"):
            named += 1
            best = os.path.basename(told["best_model_checkpoint"])
            assert held(view)[best] == (f"best_model_checkpoint of {os.path.basename(newest.path)}",)
        assert view.run.problems == ()
    assert named
