"""Megatron-LM's checkpoints, by rank and distributed.

Transcribed from `megatron/training/checkpointing.py` of NVIDIA/Megatron-LM at 0032978 (generate_state_dict,
get_rng_state, save_checkpoint) and `core/dist_checkpointing` of megatron-core 0.16.1 (settings written last, what is
common in one file, names of sharded objects). The shards themselves are written by torch.distributed.checkpoint.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.dtypes import decode_items
from ckpt.formats.reading import opened

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


def arguments(tensor: int, pipeline: int, expert: int = 1, data: int = 1) -> argparse.Namespace:
    return argparse.Namespace(
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=pipeline,
        expert_model_parallel_size=expert,
        context_parallel_size=1,
        data_parallel_size=data,
        world_size=tensor * pipeline * data,
        num_layers=2,
        hidden_size=8,
        lr=0.001,
    )


def generators() -> dict[str, Any]:
    return {
        "random_rng_state": random.getstate(),
        "np_rng_state": numpy.random.get_state(),
        "torch_rng_state": torch.get_rng_state(),
        "cuda_rng_state": torch.get_rng_state(),
        "rng_tracker_states": {"model-parallel-rng": torch.get_rng_state()},
    }


def state(args: argparse.Namespace, iteration: int, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    weights = {"weight": torch.randn(8, 4), "bias": torch.randn(4)}
    return {
        "args": args,
        "checkpoint_version": 3.0,
        "iteration": iteration,
        "model": {"language_model": {"encoder": weights}},
        "optimizer": {
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(8, 4)}}, "param_groups": [{"lr": 0.0005, "params": [0]}]}
        },
        "opt_param_scheduler": {"max_lr": 0.001, "num_steps": iteration * 16},
        "rng_state": [generators()],
        "num_floating_point_operations_so_far": 1.5e12,
    }


def by_rank(base: Path, iteration: int, tensor: int, pipeline: int = 1, expert: int = 1) -> Path:
    path = base / f"iter_{iteration:07d}"
    for t in range(tensor):
        for p in range(pipeline):
            for e in range(expert):
                name = f"mp_rank_{t:02d}" + (f"_{p:03d}" if pipeline > 1 else "") + (f"_{e:03d}" if expert > 1 else "")
                (path / name).mkdir(parents=True)
                saved = state(arguments(tensor, pipeline, expert), iteration, t * 100 + p * 10 + e)
                torch.save(saved, path / name / "model_optim_rng.pt")
    return path


def distributed(path: Path, iteration: int, *, settings: bool = True) -> Path:
    """As dist_checkpointing saves: what is common first, then shards with `.metadata`, the settings last."""
    path.mkdir(parents=True)
    saved = state(arguments(2, 1), iteration, 1)
    weights, spread = saved.pop("model"), saved.pop("rng_state")
    saved["optimizer"] = {"optimizer": {"param_groups": [{"lr": 0.0005}]}}
    torch.save(saved, path / "common.pt")
    shards = {
        "decoder.weight": weights["language_model"]["encoder"]["weight"],
        "decoder._extra_state/shard_0_1": {"scale": 1.0},
        "optimizer.state.exp_avg.decoder.weight": torch.zeros(8, 4),
        "rng_state/shard_0.0_1.2": spread,
        "rng_state/shard_0.1_1.2": spread,
    }
    flat = DefaultSavePlanner(flatten_state_dict=False)  # Megatron flattens by itself and keeps objects whole
    dcp.save(shards, storage_writer=dcp.FileSystemWriter(path), planner=flat, no_dist=True)
    if settings:
        described = {
            "sharded_backend": "torch_dist",
            "sharded_backend_version": 1,
            "common_backend": "torch",
            "common_backend_version": 1,
        }
        (path / "metadata.json").write_text(json.dumps(described))
    return path


def test_a_single_rank_says_what_it_saved(tmp_path: Path) -> None:
    path = by_rank(tmp_path, 100, 1)
    found = inspect(path)
    saved = torch.load(path / "mp_rank_00" / "model_optim_rng.pt", weights_only=False)
    assert (found.framework, found.format, found.state) == ("megatron", "directory", "complete"), found.problems
    assert found.step == saved["iteration"] == 100
    assert found.learning_rate == 0.0005
    assert found.config["num_layers"] == saved["args"].num_layers
    assert found.config["hidden_size"] == 8
    names = {tensor.name: (tensor.shape, tensor.dtype) for tensor in found.tensors}
    assert names["model.language_model.encoder.weight"] == ((8, 4), "float32")
    assert found.parameter_count == 8 * 4 + 4
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and resume["scheduler"]
    assert resume["rng"] == {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 1}
    assert resume["topology"]["tensor_parallel"] == 1


@pytest.mark.parametrize(("tensor", "pipeline", "expert"), [(2, 1, 1), (2, 2, 1), (1, 2, 1), (2, 1, 2), (2, 2, 2)])
def test_all_ranks_are_one_checkpoint_and_each_is_needed(
    tmp_path: Path, tensor: int, pipeline: int, expert: int
) -> None:
    path = by_rank(tmp_path, 20, tensor, pipeline, expert)
    ranks = tensor * pipeline * expert
    found = inspect(path)
    assert (found.state, found.step) == ("complete", 20), found.problems
    assert found.parameter_count == ranks * (8 * 4 + 4)
    assert found.resume["rng"]["ranks"] == ranks
    topology = found.resume["topology"]
    assert topology["tensor_parallel"] == tensor
    assert topology["pipeline_parallel"] == pipeline
    assert topology["expert_parallel"] == expert
    for directory in sorted(path.iterdir()):
        hidden = tmp_path / "hidden"
        directory.rename(hidden)
        missing = inspect(path) if any(path.iterdir()) else None
        assert missing is None or missing.state == "incomplete"
        hidden.rename(directory)
    last = sorted(path.iterdir())[-1] / "model_optim_rng.pt"
    last.write_bytes(last.read_bytes()[:-10])
    cut = inspect(path)
    assert cut.state == "incomplete"
    assert last.parent.name in cut.problems[0]


def test_experts_that_are_cut_otherwise_do_not_meet_every_tensor_rank(tmp_path: Path) -> None:
    path = by_rank(tmp_path, 20, 2, expert=2)
    for name in ("mp_rank_00_001", "mp_rank_01_000"):  # two processes, each with whole experts
        shutil.rmtree(path / name)
    assert inspect(path).state == "incomplete"
    for directory in path.iterdir():
        saved = torch.load(directory / "model_optim_rng.pt", weights_only=False)
        saved["args"].expert_tensor_parallel_size = 1
        torch.save(saved, directory / "model_optim_rng.pt")
    found = inspect(path)
    assert (found.state, found.resume["rng"]["ranks"]) == ("complete", 2), found.problems
    shutil.rmtree(path / "mp_rank_01_001")
    assert inspect(path).state == "incomplete"


def test_the_optimizer_in_a_file_of_its_own_is_needed_for_all_ranks_or_none(tmp_path: Path) -> None:
    path = by_rank(tmp_path, 30, 2)
    torch.save({0: {"param": torch.ones(4)}}, path / "mp_rank_00" / "distrib_optim.pt")
    found = inspect(path)
    assert found.state == "incomplete"
    assert "mp_rank_01/distrib_optim.pt" in found.problems[0]
    torch.save({0: {"param": torch.ones(4)}}, path / "mp_rank_01" / "distrib_optim.pt")
    found = inspect(path)
    assert found.state == "complete"
    assert any(tensor.name.startswith("distrib_optim.mp_rank_01") for tensor in found.tensors)


def test_values_of_each_rank_can_be_read(tmp_path: Path) -> None:
    path = by_rank(tmp_path, 10, 2)
    with opened(path) as found:
        for rank in (0, 1):
            saved = torch.load(path / f"mp_rank_0{rank}" / "model_optim_rng.pt", weights_only=False)
            (placed,) = (
                one for one in found.tensors if one.info.name == f"model.mp_rank_0{rank}.language_model.encoder.bias"
            )
            assert placed.home is not None and placed.tensor.storage is not None
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            assert decode_items(raw, "float32") == saved["model"]["language_model"]["encoder"]["bias"].tolist()


def test_a_distributed_one_is_put_together_from_what_is_common_and_the_shards(tmp_path: Path) -> None:
    path = distributed(tmp_path / "iter_0000040", 40)
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("megatron", "complete", 40), found.problems
    assert found.learning_rate == 0.0005
    names = {tensor.name: tensor.shape for tensor in found.tensors}
    assert names["model.decoder.weight"] == (8, 4)
    assert names["optimizer.sharded.state.exp_avg.decoder.weight"] == (8, 4)
    assert found.parameter_count == 8 * 4
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and resume["scheduler"]
    assert resume["rng"] == {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 2}
    assert resume["topology"]["tensor_parallel"] == 2


@pytest.mark.parametrize("name", ["metadata.json", "common.pt", ".metadata", "__0_0.distcp"])
def test_every_part_of_a_distributed_one_is_needed_whole(tmp_path: Path, name: str) -> None:
    path = distributed(tmp_path / "iter_0000040", 40)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    assert inspect(path).state in ("incomplete", "corrupt")
    (path / name).unlink()
    found = inspect(path)
    assert (found.framework, found.state) == ("megatron", "incomplete")


def test_while_it_is_written_it_is_one_already(tmp_path: Path) -> None:
    assert inspect(distributed(tmp_path / "iter_0000050", 50, settings=False)).state == "incomplete"
    begun = tmp_path / "iter_0000060"
    begun.mkdir()
    shutil.copy(tmp_path / "iter_0000050" / "common.pt", begun)
    found = inspect(begun)
    assert (found.framework, found.state) == ("megatron", "incomplete")


def test_a_plain_torch_one_under_megatrons_name_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "iter_0000070"
    saved = state(arguments(1, 1), 70, 1)
    saved["rng_state"] = {"(0, 0)": [generators()], "(0, 1)": [generators()]}
    dcp.save(saved, storage_writer=dcp.FileSystemWriter(path), no_dist=True)
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("megatron", "complete", 70), found.problems
    assert found.resume["rng"] == {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 2}
    assert found.parameter_count == 8 * 4 + 4


def test_a_release_has_no_step(tmp_path: Path) -> None:
    path = distributed(tmp_path / "release", 0)
    assert inspect(path).framework == "megatron"
    assert inspect(path).state == "complete"


@pytest.mark.parametrize("content", ["[]", '{"sharded_backend": 3}', "[" * 50_000, '{"a"', ""])
def test_settings_that_are_none_are_a_state_and_no_error(tmp_path: Path, content: str) -> None:
    path = distributed(tmp_path / "iter_0000040", 40)
    (path / "metadata.json").write_text(content)
    assert inspect(path).state in ("incomplete", "corrupt")


@pytest.mark.parametrize(("size", "states"), [(10**9, ("corrupt",)), (0, ("corrupt",)), ("x", ("complete",))])
def test_arguments_that_cannot_be_are_a_state_and_no_error(tmp_path: Path, size: Any, states: tuple[str, ...]) -> None:
    path = by_rank(tmp_path, 10, 1)
    file = path / "mp_rank_00" / "model_optim_rng.pt"
    saved = torch.load(file, weights_only=False)
    saved["args"].tensor_model_parallel_size = size
    torch.save(saved, file)
    assert inspect(path).state in states


@pytest.mark.parametrize(
    ("name", "files", "directories"),
    [
        ("data", {"metadata.json", "train.jsonl"}, set()),
        ("iter_0000100", {"notes.txt"}, {"logs"}),
        ("iter_100", {"common.pt"}, set()),
        ("release", {"setup.py"}, {"dist"}),
    ],
)
def test_other_directories_are_none(name: str, files: set[str], directories: set[str]) -> None:
    assert known.recognise(name, files, directories) is None
