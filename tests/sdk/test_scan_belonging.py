"""Files that come to lie in a checkpoint's directory later: it stays what it is, keeps its marks, and its time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt import marks, scan
from ckpt.records import Checkpoint

STRAY = (
    "eval_results.json",
    ".DS_Store",
    "README.md",
    "tokenizer.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "plots/loss.png",
    ".ipynb_checkpoints/notes.ipynb",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two checkpoints, both of long ago."""
    for step in (2, 4):
        directory = tmp_path / "run" / f"checkpoint-{step}"
        directory.mkdir(parents=True)
        save_file({"w": torch.full((64,), float(step))}, directory / "model.safetensors")
        (directory / "config.json").write_text('{"model_type": "llama"}')
        torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
        torch.save({"cpu": torch.zeros(16, dtype=torch.uint8)}, directory / "rng_state.pth")
        (directory / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
        for path in directory.iterdir():
            os.utime(path, (1_000_000 + step, 1_000_000 + step))
    return tmp_path / "run"


def seen(run: Path, **more: Path) -> dict[str, Checkpoint]:
    return {os.path.basename(c.path): c for c in scan.read_run(run, **more).checkpoints}


@pytest.mark.parametrize("name", STRAY)
def test_a_stray_file_changes_neither_identity_nor_time(run: Path, tmp_path: Path, name: str) -> None:
    before = seen(run)
    said = tmp_path / "marks"
    said.mkdir()
    pinned = before["checkpoint-2"]
    file = said / f"{pinned.run}.jsonl"
    marks.append(file, "pin", pinned.id, file="checkpoint-2", fingerprint=pinned.fingerprint)
    path = run / "checkpoint-2" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    after = seen(run, foreign_marks=said)
    assert (after["checkpoint-2"].id, after["checkpoint-2"].saved_at) == (pinned.id, pinned.saved_at)
    assert after["checkpoint-2"].pinned
    assert "latest" in after["checkpoint-4"].tags
    path.write_text('{"other": 1}')
    assert seen(run)["checkpoint-2"].id == pinned.id


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_touch_of_its_settings_does_not_make_it_the_latest(run: Path, name: str) -> None:
    before = seen(run)
    (run / "checkpoint-2" / name).touch()
    after = seen(run)
    assert after["checkpoint-2"].saved_at == before["checkpoint-2"].saved_at
    assert after["checkpoint-2"].id == before["checkpoint-2"].id


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_a_part_that_is_written_again_tells_a_new_time(run: Path, name: str) -> None:
    os.utime(run / "checkpoint-2" / name, (2_000_000, 2_000_000))
    assert seen(run)["checkpoint-2"].saved_at == 2_000_000


def test_a_part_with_other_content_is_another_checkpoint(run: Path) -> None:
    before = seen(run)["checkpoint-2"]
    save_file({"w": torch.full((64,), 3.0)}, run / "checkpoint-2" / "model.safetensors")
    assert seen(run)["checkpoint-2"].id != before.id


def test_weights_put_together_of_an_engines_files_change_nothing(run: Path) -> None:
    """As the script `zero_to_fp32.py` of DeepSpeed writes them into the checkpoint that it lies in."""
    directory = run / "checkpoint-2"
    inside = directory / "global_step2"
    inside.mkdir()
    state = {"module": {"w": torch.ones(4)}, "global_steps": 2, "dp_world_size": 1, "mp_world_size": 1}
    torch.save({**state, "ds_version": "0.16.0", "ds_config": {}}, inside / "mp_rank_00_model_states.pt")
    (directory / "model.safetensors").unlink()
    before = seen(run)["checkpoint-2"]
    assert before.state == "complete"
    torch.save({"w": torch.ones(4)}, directory / "pytorch_model.bin")
    (directory / "zero_to_fp32.py").write_text("pass\n")
    after = seen(run)["checkpoint-2"]
    assert (after.state, after.id, after.saved_at) == ("complete", before.id, before.saved_at)


def test_what_is_copied_under_a_hidden_name_meanwhile_is_being_written(run: Path) -> None:
    """As rsync names a file until it is all there."""
    directory = run / "checkpoint-2"
    (directory / "model.safetensors").unlink()
    assert seen(run)["checkpoint-2"].state == "incomplete"
    (directory / ".model.safetensors.x1Yz2a").write_bytes(b"half")
    assert seen(run)["checkpoint-2"].state == "writing"
