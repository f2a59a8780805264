"""What a checkpoint is called stays with its content: a rewrite anywhere in it makes another one, and marks say so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import marks, scan
from ckpt.records import Checkpoint
from ckpt.scan import cache as cache_module


def hugging_face(directory: Path, step: int) -> Path:
    directory.mkdir(parents=True)
    save_file({"w": torch.full((64,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    state = {"global_step": step, "epoch": 1.0, "log_history": []}
    (directory / "trainer_state.json").write_text(json.dumps(state))
    return directory


def old(directory: Path) -> None:
    for path in directory.rglob("*"):
        os.utime(path, (1_000_000, 1_000_000))


def only(run: Path, cache: scan.Cache | None = None, **more: Any) -> Checkpoint:
    (found,) = scan.read_run(run, cache=cache, **more).checkpoints
    return found


def rewrite(path: Path) -> None:
    """Other bytes of the same length under the same times: only the change time tells."""
    info, raw = path.stat(), path.read_bytes()
    path.write_bytes(raw.replace(b"1.0", b"2.0") if path.suffix == ".json" else raw[:-9] + b"\0" + raw[-8:])
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_a_rewrite_of_any_member_is_noticed(tmp_path: Path) -> None:
    hugging_face(tmp_path / "checkpoint-5", 5)
    cache = scan.Cache()
    first = only(tmp_path, cache)
    assert (first.epoch, only(tmp_path, cache).id) == (1.0, first.id)
    rewrite(tmp_path / "checkpoint-5" / "trainer_state.json")
    second = only(tmp_path, cache)
    assert second.epoch == 2.0 and second.id != first.id


def test_what_has_not_changed_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = cache_module.formats.inspect
    monkeypatch.setattr(
        cache_module.formats, "inspect", lambda path: opened.append(os.path.basename(path)) or real(path)
    )
    for step in (1, 2, 3):
        hugging_face(tmp_path / f"checkpoint-{step}", step)
    cache = scan.Cache()
    scan.read_run(tmp_path, cache=cache)
    assert sorted(opened) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    opened.clear()
    os.utime(tmp_path / "checkpoint-2" / "optimizer.pt")
    scan.read_run(tmp_path, cache=cache)
    assert opened == ["checkpoint-2"]


def test_a_marked_checkpoint_whose_content_is_gone_is_told(tmp_path: Path) -> None:
    run, said = tmp_path / "run", tmp_path / "marks"
    hugging_face(run / "checkpoint-5", 5)
    said.mkdir()
    before = scan.read_run(run, foreign_marks=said)
    pinned = before.checkpoints[0]
    file = said / f"{before.run.id}.jsonl"
    marks.append(file, "pin", pinned.id, file="checkpoint-5", fingerprint=pinned.fingerprint)
    assert only(run, foreign_marks=said).pinned
    shutil.rmtree(run / "checkpoint-5")
    hugging_face(run / "checkpoint-5", 6)
    after = scan.read_run(run, foreign_marks=said)
    assert not after.checkpoints[0].pinned
    assert after.run.problems == ("checkpoint-5 was rewritten: the content that was marked (pinned) is gone",)


def test_a_copy_is_the_same_content(tmp_path: Path) -> None:
    hugging_face(tmp_path / "a" / "checkpoint-5", 5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert only(tmp_path / "a").fingerprint == only(tmp_path / "b").fingerprint


def test_an_unfinished_directory_is_being_written_until_it_is_quiet(tmp_path: Path) -> None:
    place = hugging_face(tmp_path / "checkpoint-5", 5)
    (place / "trainer_state.json").unlink()
    young = only(tmp_path)
    assert (young.state, young.problems) == ("writing", ())
    old(tmp_path)
    quiet = only(tmp_path)
    assert quiet.state == "incomplete" and "trainer_state.json" in quiet.problems[0]
    assert quiet.saved_at == 1_000_000
    (place / "trainer_state.json").write_text('{"global_step": 5, "epoch": 1.0, "log_history": []}')
    assert only(tmp_path).state == "complete"


def test_a_marker_beside_a_directory_says_that_it_is_not_finished(tmp_path: Path) -> None:
    """Layout transcribed from the checkpoint callback of NeMo: `<name>-unfinished` stands beside it meanwhile."""
    name = "model--val_loss=0.50-step=10-consumed_samples=80.0"
    weights = tmp_path / name / "weights"
    weights.mkdir(parents=True)
    torch.save({"global_step": 10, "epoch": 1}, weights / "common.pt")
    (weights / "metadata.json").write_text('{"sharded_backend": "torch_dist", "sharded_backend_version": 1}')
    marker = tmp_path / f"{name}-unfinished"
    marker.touch()
    old(tmp_path)
    cache = scan.Cache()
    assert only(tmp_path, cache).state == "incomplete"
    before = scan.signature(tmp_path)
    marker.unlink()
    assert scan.signature(tmp_path) != before
    assert not any("unfinished" in problem for problem in only(tmp_path, cache).problems)


def test_a_state_that_is_kept_once_for_the_run_is_told_of_the_save_that_it_is_of(tmp_path: Path) -> None:
    """Layout transcribed from torchtune 0.6.1: `recipe_state/recipe_state.pt` is written over after every epoch."""
    cache = scan.Cache()
    recipe = tmp_path / "recipe_state" / "recipe_state.pt"
    recipe.parent.mkdir()
    rates = []
    for epoch in (0, 1):
        (tmp_path / f"epoch_{epoch}").mkdir()
        save_file({"w": torch.ones(2)}, tmp_path / f"epoch_{epoch}" / "model-00001-of-00001.safetensors")
        scan.read_run(tmp_path, cache=cache)
        optimizer = {"state": {}, "param_groups": [{"lr": 0.5 + epoch}]}
        torch.save({"optimizer": optimizer, "epochs_run": epoch + 1, "total_epochs": 2, "seed": 7}, recipe)
        found = scan.read_run(tmp_path, cache=cache).checkpoints
        rates.append({os.path.basename(c.path): c.learning_rate for c in found if "epoch" in c.path})
    assert rates == [{"epoch_0": 0.5}, {"epoch_0": None, "epoch_1": 1.5}]


def test_step_and_epoch_come_from_the_content_then_from_the_name(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "global_step": 7}, tmp_path / "step_9.pt")
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "epoch=3-step=11.pt")
    found = {os.path.basename(c.path): (c.step, c.epoch) for c in scan.read_run(tmp_path).checkpoints}
    assert found == {"step_9.pt": (7, None), "epoch=3-step=11.pt": (11, 3)}


def test_a_run_is_told_by_most_of_its_checkpoints_and_its_newest_configuration(produced: Any) -> None:
    base = produced("transformers")
    for path in scan.find_runs(base):
        view = scan.read_run(path)
        if any(c.framework == "transformers" and c.step for c in view.checkpoints):
            assert view.run.framework == "transformers"
            assert view.run.config["output_dir"].endswith(path.name)
