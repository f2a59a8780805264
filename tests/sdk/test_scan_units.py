"""Which files of a run are one checkpoint, which only belong to one, and what they take together."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import scan
from ckpt.records import Checkpoint
from ckpt.scan.listing import listing
from ckpt.scan.names import is_moving, may_belong, owners_of
from ckpt.scan.units import units


def touch(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def grouped(directory: Path) -> dict[str, list[str]]:
    """What is in each unit of a run, by the unit's name."""
    found, problems = units(listing(str(directory)))
    assert not problems
    return {unit.name: sorted(os.path.relpath(path, directory) for path in unit.paths) for unit in found}


def by_name(directory: Path) -> dict[str, Checkpoint]:
    return {os.path.basename(c.path): c for c in scan.read_run(directory).checkpoints}


def state(step: int, **more: Any) -> dict[str, Any]:
    return {"global_step": step, "model": {"w": torch.full((4,), float(step))}, **more}


def test_the_ranks_of_one_step_are_one_checkpoint(tmp_path: Path) -> None:
    touch(tmp_path, *(f"checkpoints/ep1-ba{batch}-rank{rank}.pt" for batch in (10, 20) for rank in range(3)))
    touch(tmp_path, "checkpoint7-shard0.pt", "checkpoint7-shard1.pt", "checkpoint8.pt")
    assert {name: len(files) for name, files in grouped(tmp_path).items()} == {
        "checkpoint7-shard0.pt": 2,
        "checkpoint8.pt": 1,
        "checkpoints/ep1-ba10-rank0.pt": 3,
        "checkpoints/ep1-ba20-rank0.pt": 3,
    }


def test_a_link_of_any_name_is_another_name_of_what_it_leads_to(tmp_path: Path) -> None:
    touch(tmp_path, "m_epoch_1.pt", "m_epoch_2.pt", "notes.md")
    for link, target in {"for_paper": "m_epoch_1.pt", "old": "gone", "docs": "notes.md", "in": "/usr"}.items():
        (tmp_path / link).symlink_to(target)
    assert grouped(tmp_path) == {"m_epoch_1.pt": ["for_paper", "m_epoch_1.pt"], "m_epoch_2.pt": ["m_epoch_2.pt"]}


def test_environments_of_reinforcement_learning_lie_beside_their_policies(tmp_path: Path) -> None:
    steps = ("1000", "2000")
    touch(tmp_path, *(f"rl_model_{n}_steps.zip" for n in steps), "rl_model_vecnormalize_2000_steps.pkl")
    touch(tmp_path, *(f"rl_model_replay_buffer_{n}_steps.pkl" for n in ("1000", "3000")), "data.pkl")
    assert grouped(tmp_path) == {
        "rl_model_1000_steps.zip": ["rl_model_1000_steps.zip", "rl_model_replay_buffer_1000_steps.pkl"],
        "rl_model_2000_steps.zip": ["rl_model_2000_steps.zip", "rl_model_vecnormalize_2000_steps.pkl"],
    }


def test_what_lies_beside_a_final_model_belongs_to_it(tmp_path: Path) -> None:
    sides = ["optimizer.pt", "rng_state_0.pth", "rng_state_1.pth", "scheduler.pt", "training_args.bin"]
    touch(tmp_path / "whole", "model.safetensors", *sides)
    assert grouped(tmp_path / "whole") == {"model.safetensors": ["model.safetensors", *sides]}
    touch(tmp_path / "numbered", "model_10.pt", "optimizer_10.pt", "model_20.pt", "optimizer_20.pt", "scheduler_30.pt")
    assert grouped(tmp_path / "numbered") == {
        "model_10.pt": ["model_10.pt", "optimizer_10.pt"],
        "model_20.pt": ["model_20.pt", "optimizer_20.pt"],
        "scheduler_30.pt": ["scheduler_30.pt"],
    }


def test_shards_that_lie_loose_are_one_checkpoint_with_their_index(tmp_path: Path) -> None:
    touch(tmp_path, *(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)), "model.safetensors.index.json")
    touch(tmp_path, "training_args.bin", "checkpoint-5/trainer_state.json", "checkpoint-5/model.safetensors")
    found = grouped(tmp_path)
    assert found.keys() == {"model-00001-of-00003.safetensors", "checkpoint-5"}
    assert len(found["model-00001-of-00003.safetensors"]) == 5


def test_metadata_belongs_to_the_weights_of_its_epoch_where_only_one_is(tmp_path: Path) -> None:
    touch(
        tmp_path, "weights/net_best_epoch_003_20250101_120000.pth", "weights/net_regular_epoch_004_20250101_120100.pth"
    )
    touch(tmp_path, "weights/net_best_epoch_004_20250101_120100.pth")
    touch(tmp_path, "metadata/checkpoint_metadata_epoch_003.json", "metadata/checkpoint_metadata_epoch_004.json")
    assert grouped(tmp_path) == {
        "weights/net_best_epoch_003_20250101_120000.pth": [
            "metadata/checkpoint_metadata_epoch_003.json",
            "weights/net_best_epoch_003_20250101_120000.pth",
        ],
        "weights/net_best_epoch_004_20250101_120100.pth": ["weights/net_best_epoch_004_20250101_120100.pth"],
        "weights/net_regular_epoch_004_20250101_120100.pth": ["weights/net_regular_epoch_004_20250101_120100.pth"],
    }


def test_several_files_say_together_what_each_says(tmp_path: Path) -> None:
    torch.save({"state": {"rank": 0}, "epoch": 2, "global_step": 30}, tmp_path / "ep2-ba30-rank0.pt")
    torch.save({"state": {"rank": 1}, "loss": 0.5}, tmp_path / "ep2-ba30-rank1.pt")
    (found,) = scan.read_run(tmp_path).checkpoints
    assert (found.epoch, found.step, found.loss, found.state) == (2, 30, 0.5, "complete")
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert len(found.files) == 2
    raw = (tmp_path / "ep2-ba30-rank1.pt").read_bytes()
    (tmp_path / "ep2-ba30-rank1.pt").write_bytes(raw[: len(raw) // 2])
    os.utime(tmp_path / "ep2-ba30-rank1.pt", (1, 1))
    os.utime(tmp_path / "ep2-ba30-rank0.pt", (1, 1))
    (cut,) = scan.read_run(tmp_path).checkpoints
    assert cut.state == "incomplete" and cut.problems[0].startswith("ep2-ba30-rank1.pt: ")
    assert cut.id != found.id


def test_links_are_names_and_the_one_that_stays_is_the_first(tmp_path: Path) -> None:
    """timm keeps `last`, the numbered one and `model_best` as hard links of one file."""
    torch.save(state(3), tmp_path / "last.pth.tar")
    for name in ("model_best.pth.tar", "checkpoint-3.pth.tar", "best.pth.tar"):
        os.link(tmp_path / "last.pth.tar", tmp_path / name)
    (tmp_path / "newest.pth.tar").symlink_to("checkpoint-3.pth.tar")
    (found,) = scan.read_run(tmp_path).checkpoints
    assert os.path.basename(found.path) == "checkpoint-3.pth.tar" and len(found.files) == 5
    assert found.bytes == (tmp_path / "last.pth.tar").stat().st_size
    assert "also named newest.pth.tar" in found.held_by


def test_a_link_to_a_directory_is_another_name_of_that_checkpoint(tmp_path: Path) -> None:
    steps = tmp_path / "checkpoints"
    for step in (100, 200):
        hugging_face(steps / f"checkpoint-{step}", step)
    (steps / "last").symlink_to("checkpoint-200")
    (tmp_path / "best").symlink_to("checkpoints/checkpoint-100")
    (tmp_path / "data").symlink_to("nowhere")
    found = by_name(tmp_path)
    assert found["checkpoint-200"].held_by == ("also named checkpoints/last",)
    assert found["checkpoint-100"].held_by == ("also named best",)
    assert scan.read_run(tmp_path).run.problems == ()
    (tmp_path / "best").unlink()
    (tmp_path / "best").symlink_to("checkpoints/checkpoint-300")
    assert scan.read_run(tmp_path).run.problems == ("best points to nothing",)


def test_bytes_count_each_inode_once(tmp_path: Path) -> None:
    first = hugging_face(tmp_path / "checkpoint-1", 1)
    second = hugging_face(tmp_path / "checkpoint-2", 2)
    (second / "model.safetensors").unlink()
    os.link(first / "model.safetensors", second / "model.safetensors")
    os.link(first / "model.safetensors", first / "copy.safetensors")
    view = scan.read_run(tmp_path)
    size = {path.stat().st_ino: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert view.run.bytes == sum(size.values())
    weights = (first / "model.safetensors").stat().st_size
    assert sum(c.bytes for c in view.checkpoints) == view.run.bytes + weights


def hugging_face(directory: Path, step: int) -> Path:
    directory.mkdir(parents=True)
    save_file({"w": torch.full((64,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    (directory / "trainer_state.json").write_text(
        json.dumps({"global_step": step, "epoch": step / 10, "log_history": []})
    )
    return directory


@pytest.mark.parametrize(
    ("name", "moving"),
    [
        ("last.ckpt", True),
        ("model_best.pth", True),
        ("latest-rank0.pt", True),
        ("epoch_3.pt", False),
        ("blast.pt", False),
    ],
)
def test_names_that_move_are_told(name: str, moving: bool) -> None:
    assert is_moving(name) is moving


def test_names_do_not_belong_to_what_they_only_look_like() -> None:
    assert not may_belong("train_steps.pkl") and not may_belong("index.json") and not may_belong("metadata/notes.json")
    assert owners_of("model.pt") == () and owners_of("optimizer_notes.txt") == ()


def test_the_files_in_the_directory_of_a_step_are_one_checkpoint(tmp_path: Path) -> None:
    for step in (100, 200):
        touch(tmp_path, *(f"run/checkpoints/step_{step}/{name}" for name in ("ema.pt", "model.pt", "optimizer.pt")))
        touch(tmp_path, f"loose/epoch-{step}/net.pth")
    assert scan.find_runs(tmp_path) == [tmp_path / "loose", tmp_path / "run"]
    assert scan.survey(tmp_path, below=tmp_path / "run" / "checkpoints" / "step_100").runs == (str(tmp_path / "run"),)
    assert {name: len(files) for name, files in grouped(tmp_path / "run").items()} == {
        "checkpoints/step_100/model.pt": 3,
        "checkpoints/step_200/model.pt": 3,
    }
    assert grouped(tmp_path / "loose").keys() == {"epoch-100/net.pth", "epoch-200/net.pth"}
    inside = tmp_path / "run" / "checkpoints" / "step_100" / "model.pt"
    assert scan.run_of(inside) == (tmp_path / "run", inside)
    assert scan.run_of(inside.parent) == (tmp_path / "run", inside.with_name("ema.pt"))
