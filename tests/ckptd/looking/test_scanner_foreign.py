"""Runs of other frameworks, led to by what changes in them: directories of checkpoints, and metrics that grow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file


def weights(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.ones(8)}, directory / "model.safetensors")
    return directory


def hugging_face(directory: Path, step: int) -> Path:
    weights(directory)
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    state = {"global_step": step, "epoch": 1.0, "log_history": []}
    (directory / "trainer_state.json").write_text(json.dumps(state))
    return directory


def watch(world: Any, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    world.roots.add(str(directory), "observe", [])
    world.scanner.full()


def known(world: Any, root: Path) -> dict[str, list[int | None]]:
    return {
        os.path.relpath(view.run.path, root): sorted(c.step or 0 for c in view.checkpoints)
        for view in world.catalog.all()
    }


def test_a_change_deep_in_a_checkpoint_leads_to_its_run(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    inside = hugging_face(root / "out" / "checkpoint-5", 5) / "global_step5"
    watch(world, root)
    (run,) = world.catalog.all()
    inside.mkdir()
    torch.save({"module": {}}, inside / "mp_rank_00_model_states.pt")
    for structural in (True, False):
        assert world.scanner.dirty({str(inside): structural}) == {run.run.id}
    assert world.catalog.all()[0].checkpoints[0].id != run.checkpoints[0].id
    assert known(world, root) == {"out": [5]}


def test_the_full_look_sees_what_no_event_tells_of(world: Any, tmp_path: Path) -> None:
    """A file cut short by its path, and one written to by a name that it has elsewhere."""
    root = tmp_path / "root"
    cut, shared = weights(root / "cut"), weights(root / "shared")
    os.link(shared / "model.safetensors", tmp_path / "elsewhere")
    watch(world, root)
    before = {view.run.path: view.checkpoints[0] for view in world.catalog.all()}
    assert {c.state for c in before.values()} == {"complete"}
    os.truncate(cut / "model.safetensors", 40)
    save_file({"w": torch.zeros(8)}, tmp_path / "other")
    (tmp_path / "elsewhere").write_bytes((tmp_path / "other").read_bytes())
    world.scanner.full()
    after = {view.run.path: view.checkpoints[0] for view in world.catalog.all()}
    assert after[str(cut)].state == "writing" and after[str(cut)].bytes == 40
    assert after[str(shared)].id != before[str(shared)].id and after[str(shared)].state == "complete"


def test_a_new_checkpoint_is_found_from_inside_of_it(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    watch(world, root)
    place = hugging_face(root / "out" / "checkpoint-5", 5)
    world.scanner.dirty({str(place): True})
    assert known(world, root) == {"out": [5]}
    shutil.rmtree(place)
    world.scanner.dirty({str(root / "out"): False, str(place): True})
    assert known(world, root) == {}
    assert world.kinds()[-1] == "run.removed"


def test_what_turns_out_to_be_a_checkpoint_is_no_run_any_more(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    place = weights(root / "out" / "saved")
    watch(world, root)
    assert known(world, root) == {"out/saved": [0]}
    hugging_face(place, 7)
    world.scanner.dirty({str(place): True})
    assert known(world, root) == {"out": [7]}
    world.scanner.full()
    assert known(world, root) == {"out": [7]}


def test_a_root_that_is_a_checkpoint_can_be_named(world: Any, tmp_path: Path) -> None:
    root = hugging_face(tmp_path / "checkpoint-9", 9)
    watch(world, root)
    for path in (root, root / "model.safetensors"):
        answer = world.get(f"/v1/resolve?ref={path}")
        assert (answer["run"]["path"], answer["checkpoint"]["step"]) == (str(root), 9)


def test_a_directory_is_named_by_its_path_and_by_those_in_it(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    place = hugging_face(root / "out" / "checkpoint-5", 5)
    hugging_face(root / "out" / "checkpoint-6", 6)
    watch(world, root)
    for path in (place, place / "optimizer.pt"):
        assert world.get(f"/v1/resolve?ref={path}")["checkpoint"]["step"] == 5


def test_a_pointer_that_moves_is_noticed_by_a_quick_look(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for step in (5, 6):
        hugging_face(root / "out" / f"checkpoint-{step}", step)
    watch(world, root)
    world.scanner.full()
    assert world.scanner.full() == set()
    (root / "out" / "latest").write_text("checkpoint-5")
    assert len(world.scanner.full()) == 1
    held = {c.step: c.held_by for c in world.catalog.all()[0].checkpoints}
    assert held == {5: ("named by latest",), 6: ()}


def test_metrics_that_grow_are_told_while_no_checkpoint_is_written(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run = root / "lightning_logs" / "version_0"
    (run / "checkpoints").mkdir(parents=True)
    torch.save({"global_step": 1, "epoch": 0, "state_dict": {}}, run / "checkpoints" / "last.ckpt")
    table = run / "metrics.csv"
    table.write_text("epoch,step,train_loss\n0,0,0.9\n")
    watch(world, root)
    (view,) = world.catalog.all()
    assert view.run.status == "training"
    with table.open("a") as stream:
        stream.write("3,40,0.25\n")
    later = view.run.updated_at + 5
    os.utime(table, (later, later))
    world.scanner.poll_training()
    (view,) = world.catalog.all()
    assert (view.run.step, view.run.epoch, view.run.loss, view.run.updated_at) == (40, 3, 0.25, later)
    told = [event for event in world.events.since(None) if event["kind"] == "state"]
    assert [(event["run"], event["step"], event["loss"]) for event in told] == [(view.run.id, 40, 0.25)]


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_what_may_not_be_listed_in_a_run_hides_nothing_else() -> None:
    """In a process of its own, which gives root's rights up."""
    base = Path(tempfile.mkdtemp(prefix="ckptd-closed-"))
    run = base / "runs" / "out"
    code = f"""
import os, shlex, shutil  # all of the library that is loaded late: that user may not read it
from pathlib import Path
from ckpt.paths import StatePaths
from ckptd.parts import writing
run = Path({str(run)!r})
parts = writing(StatePaths(Path({str(base)!r}) / "state"))
watched, _ = parts.roots.add(str(run.parent), "observe", ())
os.setgid(65534); os.setuid(65534)
def look():
    parts.scanner.full()
    (view,) = parts.catalog.all()
    print(*sorted(c.path[-1] for c in view.checkpoints), *sorted(map(os.path.basename, watched.unreadable)))
    assert view.run.problems == ("private/ cannot be read: Permission denied",)
os.chmod(run / "private", 0)
look()
shutil.copytree(run / "checkpoint-5", run / "checkpoint-6")
look()
os.chmod(run / "checkpoint-5", 0)
shutil.copytree(run / "checkpoint-6", run / "checkpoint-7")
look()
os.chmod(run / "checkpoint-5", 0o700)
look()
"""
    try:
        hugging_face(run / "checkpoint-5", 5)
        (run / "private").mkdir()
        (base / "state").mkdir()
        for path in (base, *base.rglob("*")):
            os.chown(path, 65534, 65534)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    finally:
        shutil.rmtree(base)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["5 private", "5 6 private", "5 6 checkpoint-5 out private", "5 6 7 private"]
