"""verl's checkpoints.

Transcribed from verl 0.9.1: `utils/checkpoint/fsdp_checkpoint_manager.py` (three files a rank), `checkpoint_manager.py`
(generators), `megatron_checkpoint_manager.py` and `utils/megatron_utils.py` (a distributed checkpoint for each content,
the list of contents last; before, one for all), `checkpoint_handler.py` (supervised: no parts, a position for each
rank) and `trainer/ppo/ray_trainer.py` (actor, critic, then `data.pt`, then the tracker next to the directory).
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.dtypes import decode_items
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]


def save_part(path: Path, world: int) -> None:
    path.mkdir(parents=True)
    for rank in range(world):
        torch.manual_seed(rank)
        end = f"world_size_{world}_rank_{rank}.pt"
        torch.save({"layer.weight": torch.randn(4, 3), "layer.bias": torch.randn(3)}, path / f"model_{end}")
        optimizer = {"state": {0: {"exp_avg": torch.zeros(4, 3)}}, "param_groups": [{"lr": 1e-6, "params": [0]}]}
        torch.save(optimizer, path / f"optim_{end}")
        states = {
            "cpu": torch.get_rng_state(),
            "numpy": numpy.random.get_state(),
            "random": random.getstate(),
            "cuda": torch.get_rng_state(),
        }
        torch.save({"lr_scheduler": {"last_epoch": 7}, "rng": states}, path / f"extra_state_{end}")
    (path / "huggingface").mkdir()
    (path / "huggingface" / "config.json").write_text('{"model_type": "qwen2"}')
    (path / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 1, "world_size": world}))


def save(base: Path, step: int = 40, world: int = 2, *, critic: bool = False) -> Path:
    path = base / f"global_step_{step}"
    save_part(path / "actor", world)
    if critic:
        save_part(path / "critic", world)
    torch.save({"_num_yielded": 12, "_sampler_iter_state": None}, path / "data.pt")
    return path


def test_all_ranks_of_the_actor_are_one_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path)
    found = inspect(path)
    assert (found.framework, found.format, found.state, found.step) == ("verl", "directory", "complete", 40)
    assert found.learning_rate == 1e-6
    assert found.parameter_count == 2 * (4 * 3 + 3)
    names = {tensor.name: (tensor.shape, tensor.dtype) for tensor in found.tensors}
    assert names["model.actor.rank_1.layer.weight"] == ((4, 3), "float32")
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and resume["scheduler"] and resume["data"]
    assert resume["rng"] == {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 2}
    assert resume["topology"] == {"world_size": 2}


def test_values_of_each_rank_can_be_read(tmp_path: Path) -> None:
    path = save(tmp_path)
    with opened(path) as found:
        (placed,) = (one for one in found.tensors if one.info.name == "model.actor.rank_1.layer.bias")
        assert placed.home is not None and placed.tensor.storage is not None
        raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
    saved = torch.load(path / "actor" / "model_world_size_2_rank_1.pt")
    assert decode_items(raw, "float32") == saved["layer.bias"].tolist()


def test_the_critic_is_part_of_it(tmp_path: Path) -> None:
    path = save(tmp_path, critic=True)
    found = inspect(path)
    assert found.parameter_count == 4 * (4 * 3 + 3)
    assert found.resume["rng"]["ranks"] == 2
    shutil.rmtree(path / "critic")
    (path / "critic").mkdir()
    save_part(path / "critic" / "inner", 1)
    found = inspect(path)
    assert found.state == "incomplete"
    assert "critic" in found.problems[0]


@pytest.mark.parametrize("kind", ["model", "optim", "extra_state"])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_every_ranks_file_is_needed_whole(tmp_path: Path, kind: str, rank: int) -> None:
    path = save(tmp_path, world=3)
    file = path / "actor" / f"{kind}_world_size_3_rank_{rank}.pt"
    file.write_bytes(file.read_bytes()[:-30])
    cut = inspect(path)
    assert cut.state == "incomplete"
    assert file.name in cut.problems[0]
    file.unlink()
    missing = inspect(path)
    assert missing.state == "incomplete"
    assert file.name in missing.problems[0]


def test_without_the_data_position_the_tracker_decides(tmp_path: Path) -> None:
    path = save(tmp_path)
    (path / "data.pt").unlink()
    assert inspect(path).state == "incomplete"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("30")
    assert inspect(path).state == "incomplete"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("40")
    found = inspect(path)
    assert found.state == "complete"
    assert not found.resume["data"]
    (tmp_path / "latest_checkpointed_iteration.txt").write_bytes(b"\xff" * 9000)
    assert inspect(path).state == "incomplete"


def test_files_of_another_number_of_ranks_are_a_fault(tmp_path: Path) -> None:
    path = save(tmp_path)
    torch.save({}, path / "actor" / "model_world_size_4_rank_3.pt")
    assert inspect(path).state == "corrupt"


def test_ranks_files_may_lie_in_the_directory_itself(tmp_path: Path) -> None:
    path = tmp_path / "global_step_9"
    save_part(path, 1)
    torch.save({}, path / "data.pt")
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("verl", "complete", 9)


@pytest.mark.parametrize("kind", ["dtensor", "sharded"])
def test_each_rank_s_own_elements_of_what_the_ranks_hold_together(
    tmp_path: Path, produced: Produced, kind: str
) -> None:
    base = produced("local_tensors")
    expected = json.loads((base / "expected.json").read_text())
    path = save(tmp_path)
    for rank in (0, 1):
        shutil.copy(base / f"{kind}_{rank}.pt", path / "actor" / f"model_world_size_2_rank_{rank}.pt")
    with opened(path) as found:
        assert found.inspection.state == "complete" and found.inspection.parameter_count == 2 * 3 * 4
        for rank in (0, 1):
            name = f"model.actor.rank_{rank}.layer.weight"
            (placed,) = (one for one in found.tensors if one.info.name == name)
            assert placed.info.shape == (3, 4) and placed.home is not None and placed.tensor.storage is not None
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            assert decode_items(raw, "float32") == [value for row in expected[rank][kind] for value in row]


def distributed(path: Path, common: dict[str, Any], shards: dict[str, Any], *, settings: bool = True) -> None:
    """As Megatron's dist_checkpointing saves: what is common, the shards, the settings last."""
    path.mkdir(parents=True)
    torch.save(common, path / "common.pt")
    flat = DefaultSavePlanner(flatten_state_dict=False)  # Megatron flattens by itself and keeps objects whole
    dcp.save(shards, storage_writer=dcp.FileSystemWriter(path), planner=flat, no_dist=True)
    if settings:
        (path / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_a_part_that_megatron_saved_at_once_is_read(tmp_path: Path) -> None:
    path = tmp_path / "global_step_5"
    base = path / "actor" / "dist_ckpt"
    shards = {"decoder.weight": torch.randn(2, 5), "optimizer.state.exp_avg": torch.zeros(2, 5)}
    distributed(base, {"lr_scheduler": {"num_steps": 5}}, shards, settings=False)
    torch.save({}, path / "data.pt")
    assert inspect(path).state == "incomplete"
    (base / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("verl", "complete", 5), found.problems
    assert found.parameter_count == 10
    assert found.resume["model"] and found.resume["optimizer"] and found.resume["scheduler"]


def by_content(part: Path, *, bridge: bool = False) -> None:
    """As verl saves with Megatron now: a directory for each content, one for weights that lie elsewhere left empty."""
    for content in ("model", "optimizer", "extra"):
        (part / content / "dist_ckpt").mkdir(parents=True)
    if bridge:
        (part / "model" / "huggingface").mkdir()
        save_file({"decoder.weight": torch.ones(2, 5)}, part / "model" / "huggingface" / "model.safetensors")
    else:
        (part / "model" / "dist_ckpt").rmdir()
        distributed(part / "model" / "dist_ckpt", {"content_metadata": {}}, {"decoder.weight": torch.ones(2, 5)})
    for content in ("optimizer", "extra"):
        (part / content / "dist_ckpt").rmdir()
    states = {"optimizer.state.exp_avg.decoder.weight": torch.zeros(2, 5)}
    groups = {"param_groups": [{"lr": 2e-6}]}
    distributed(part / "optimizer" / "dist_ckpt", {"optimizer": groups, "lr_scheduler": {"num_steps": 5}}, states)
    generators = {
        "random_rng_state": random.getstate(),
        "np_rng_state": numpy.random.get_state(),
        "torch_rng_state": torch.get_rng_state(),
        "rng_tracker_states": {},
        "cuda_rng_state": torch.get_rng_state(),
    }
    distributed(part / "extra" / "dist_ckpt", {}, {"rng_state/shard_0.0_1.1": [generators]})
    (part / "transformer_config.json").write_text('{"num_layers": 2}')
    listed = {"schema_version": 2, "framework": "megatron", "global_step": 5, "world_size": 1, "contents": {}}
    (part / "ckpt_contents.json").write_text(json.dumps(listed))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
@pytest.mark.parametrize("bridge", [False, True])
@pytest.mark.parametrize("part", ["actor", ""])
def test_a_part_that_megatron_saved_by_content_is_read(tmp_path: Path, part: str, bridge: bool) -> None:
    path = tmp_path / "global_step_5"
    by_content(path / part, bridge=bridge)
    torch.save({"_num_yielded": 12}, path / ("data.pt" if part else "data_0.pt"))
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("verl", "complete", 5), found.problems
    assert (found.parameter_count, found.learning_rate) == (10, 2e-6)
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and resume["scheduler"] and resume["data"]
    assert resume["rng"] == {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 1}
    for name in ("ckpt_contents.json", "extra/dist_ckpt/metadata.json", "optimizer/dist_ckpt/.metadata"):
        hidden = tmp_path / "hidden"
        (path / part / name).rename(hidden)
        assert (inspect(path).framework, inspect(path).state) == ("verl", "incomplete")
        hidden.rename(path / part / name)


@pytest.mark.parametrize(
    ("name", "files", "directories"),
    [
        ("global_step_10", {"notes.txt"}, {"samples"}),
        ("global_step10", set(), {"actor"}),
        ("actor", {"model_world_size_2_rank_0.pt"}, set()),
    ],
)
def test_other_directories_are_none(name: str, files: set[str], directories: set[str]) -> None:
    assert known.recognise(name, files, directories) is None
