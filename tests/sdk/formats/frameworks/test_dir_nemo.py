"""NeMo 2's checkpoints.

Transcribed from NVIDIA/NeMo, which has no NeMo 2 in its releases any more: `pytorch/callbacks/model_checkpoint.py` at
d73511f (names, the marker next to a checkpoint from before the first file to after the last, while it is removed too),
`io/pl.py` at 00b7275 (weights by Megatron's dist_checkpointing) and `save_checkpoint` of
`pytorch/strategies/megatron_strategy.py` (what is common, in the form of a Lightning checkpoint), all of
`nemo/lightning`. The shards are written by torch.distributed.checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from ckpt.formats import inspect
from ckpt.formats.directories import known

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
NAME = "tiny--val_loss=1.25-step=99-consumed_samples=800.0"


def save(base: Path, name: str = NAME) -> Path:
    path = base / name
    (path / "weights").mkdir(parents=True)
    (path / "context").mkdir()
    (path / "context" / "io.json").write_text("{}")
    (path / "context" / "model.yaml").write_text("_target_: nemo.Model\n")
    common = {
        "sharded_state_dict": {},
        "epoch": 0,
        "global_step": 100,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 0}}}},
        "callbacks": {},
        "optimizer": [{"param_groups": [{"lr": 0.002}]}],
        "lr_schedulers": [{"last_epoch": 100}],
    }
    torch.save(common, path / "weights" / "common.pt")
    shards = {
        "module.decoder.weight": torch.randn(4, 6),
        "optimizer.state.exp_avg.module.decoder.weight": torch.ones(4),
    }
    flat = DefaultSavePlanner(flatten_state_dict=False)  # Megatron flattens by itself and keeps objects whole
    dcp.save(shards, storage_writer=dcp.FileSystemWriter(path / "weights"), planner=flat, no_dist=True)
    settings = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
    (path / "weights" / "metadata.json").write_text(json.dumps(settings))
    return path


def test_content_and_name_together_say_everything(tmp_path: Path) -> None:
    found = inspect(save(tmp_path))
    assert (found.framework, found.state) == ("nemo", "complete"), found.problems
    assert found.step == 100
    assert found.epoch == 0
    assert found.metrics["val_loss"] == 1.25
    assert "metrics.val_loss" in found.from_name
    assert {tensor.name: tensor.shape for tensor in found.tensors}["model.module.decoder.weight"] == (4, 6)
    assert found.parameter_count == 24
    assert found.resume["model"] and found.resume["optimizer"]


def test_the_marker_next_to_it_makes_it_incomplete(tmp_path: Path) -> None:
    path = save(tmp_path)
    marker = tmp_path / f"{NAME}-unfinished"
    marker.touch()
    found = inspect(path)
    assert (found.framework, found.state) == ("nemo", "incomplete")
    assert marker.name in found.problems[0]
    marker.unlink()
    assert inspect(path).state == "complete"


@pytest.mark.parametrize("name", ["metadata.json", "common.pt", ".metadata", "__0_0.distcp"])
def test_every_part_of_the_weights_is_needed(tmp_path: Path, name: str) -> None:
    path = save(tmp_path)
    content = (path / "weights" / name).read_bytes()
    (path / "weights" / name).write_bytes(content[: len(content) // 2])
    assert inspect(path).state in ("incomplete", "corrupt")
    (path / "weights" / name).unlink()
    assert inspect(path).state == "incomplete"


def test_the_last_one_may_have_any_name(tmp_path: Path) -> None:
    assert inspect(save(tmp_path, "model-last")).framework == "nemo"


@pytest.mark.parametrize(
    ("name", "files", "directories"),
    [("run", {"readme.md"}, {"weights", "context"}), ("exp-step=3", set(), {"context"}), ("weights", set(), set())],
)
def test_other_directories_are_none(name: str, files: set[str], directories: set[str]) -> None:
    assert known.recognise(name, files, directories) is None
