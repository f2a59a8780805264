"""Layouts of DeepSpeed that need more devices than one machine of a test has.

Written with torch as `DeepSpeedEngine.save_checkpoint` in `deepspeed/runtime/engine.py` and `PipelineModule` in
`deepspeed/runtime/pipe/module.py` of version 0.19.8 write them: the same names, keys and order.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import Inspection, inspect
from ckpt.formats.directories import known
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]


def model_states(module: dict[str, torch.Tensor] | None, **changes: Any) -> dict[str, Any]:
    return {
        "module": module,
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": None,
        "frozen_param_shapes": None,
        "shared_params": {},
        "frozen_param_fragments": None,
        "lr_scheduler": {"last_batch_iteration": 6},
        "data_sampler": None,
        "random_ltd": None,
        "skipped_steps": 0,
        "global_steps": 7,
        "global_samples": 28,
        "dp_world_size": 1,
        "mp_world_size": 1,
        "ds_config": {"train_batch_size": 4, "zero_optimization": {"stage": 0}},
        "ds_version": "0.19.8",
    } | changes


def partition(stage: int, flats: list[torch.Tensor]) -> dict[str, Any]:
    base = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.25, "params": [0]}]}
    if stage == 3:
        held: dict[str, Any] = {"zero_stage": 3, "optimizer_state_dict": base, "fp32_flat_groups": flats}
    else:
        held = {"zero_stage": stage, "base_optimizer_state": base, "single_partition_of_fp32_groups": flats}
    return {"optimizer_state_dict": held, "ds_config": {}, "ds_version": "0.19.8"}


def values(directory: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with opened(directory) as read:
        for placed in read.tensors:
            if placed.info.name.startswith("model."):
                assert placed.home is not None and placed.tensor.storage is not None
                raw = bytearray(placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span))
                numbers = torch.frombuffer(raw, dtype=torch.float32) if raw else torch.zeros(0)
                found[placed.info.name.removeprefix("model.")] = numbers.tolist()
    return found


def whole(directory: Path) -> Inspection:
    found = inspect(directory)
    assert (found.framework, found.state, found.problems) == ("deepspeed", "complete", ())
    return found


def zero_3(directory: Path, ranks: int, shapes: dict[str, tuple[int, ...]], groups: int = 1) -> dict[str, list[float]]:
    """Every parameter cut into equal shares, the last one padded; each rank's shares in one or two flat groups."""
    directory.mkdir(exist_ok=True)
    wanted: dict[str, list[float]] = {}
    shares: list[list[float]] = [[] for _ in range(ranks)]
    for number, (name, shape) in enumerate(shapes.items()):
        elements = math.prod(shape)
        wanted[name] = [number * 1000.0 + index for index in range(elements)]
        share = math.ceil(elements / ranks)
        padded = wanted[name] + [-1.0] * (share * ranks - elements)
        for rank in range(ranks):
            shares[rank] += padded[rank * share : (rank + 1) * share]
    frozen = {"frozen": (5,)}
    for rank in range(ranks):
        cut = len(shares[rank]) // groups
        flats = [torch.tensor(shares[rank][:cut]), torch.tensor(shares[rank][cut:])][:groups] if groups > 1 else []
        flats = flats or [torch.tensor(shares[rank])]
        fragment = torch.arange(float(rank * 3), float(rank * 3 + 3))
        state = model_states(
            {name: torch.empty(0) for name in shapes},
            param_shapes=[shapes],
            frozen_param_shapes=frozen if ranks == 2 else {},
            frozen_param_fragments={"frozen": fragment} if ranks == 2 else {},
            dp_world_size=ranks,
            ds_config={"zero_optimization": {"stage": 3}},
        )
        torch.save(state, directory / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
        torch.save(partition(3, flats), directory / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return wanted | ({"frozen": [0.0, 1.0, 2.0, 3.0, 4.0]} if ranks == 2 else {})


@pytest.mark.parametrize(("ranks", "groups"), [(1, 1), (2, 1), (3, 1), (3, 2), (12, 1)])
def test_parameters_cut_over_ranks(tmp_path: Path, ranks: int, groups: int) -> None:
    shapes = {"a.weight": (3, 5), "a.bias": (5,), "scale": (), "none": (0,), "b.weight": (2, 2, 2)}
    wanted = zero_3(tmp_path / "t", ranks, shapes, groups)
    found = whole(tmp_path / "t")
    assert (found.step, found.learning_rate) == (7, 0.25)
    assert values(tmp_path / "t") == wanted
    assert found.parameter_count == sum(len(numbers) for numbers in wanted.values())
    assert {tensor.name: tensor.shape for tensor in found.tensors if tensor.name == "model.b.weight"} == {
        "model.b.weight": (2, 2, 2)
    }


def test_partitions_that_end_too_early(tmp_path: Path) -> None:
    zero_3(tmp_path / "t", 3, {"a": (30,), "b": (9,)})
    torch.save(partition(3, [torch.zeros(5)]), tmp_path / "t" / "zero_pp_rank_1_mp_rank_00_optim_states.pt")
    found = inspect(tmp_path / "t")
    assert found.state == "corrupt" and "'a'" in found.problems[0]


@pytest.mark.parametrize("shapes", [[{"a": (1 << 62, 1 << 62)}], [{"a": "wide"}], [{"a": (-3,)}], [{3: (1,)}], "none"])
def test_shapes_that_are_none(tmp_path: Path, shapes: Any) -> None:
    zero_3(tmp_path / "t", 1, {"a": (4,)})
    name = tmp_path / "t" / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    torch.save(torch.load(name) | {"param_shapes": shapes}, name)
    found = inspect(tmp_path / "t")
    assert found.state == "complete" and found.parameter_count == 0


def test_tensor_parallel_slices(tmp_path: Path) -> None:
    for rank in range(2):
        state = model_states({"w": torch.ones(2, 3)}, mp_world_size=2, dp_world_size=2)
        torch.save(state, tmp_path / f"mp_rank_{rank:02d}_model_states.pt")
    found = whole(tmp_path)
    assert {tensor.name for tensor in found.tensors} == {"model.mp_rank_0.w", "model.mp_rank_1.w"}
    assert found.resume["topology"] == {"world_size": 4, "data_parallel": 2, "tensor_parallel": 2}
    (tmp_path / "mp_rank_01_model_states.pt").unlink()
    found = inspect(tmp_path)
    assert found.state == "incomplete" and "1 of 2 files of the model" in found.problems[0]


def test_layers_of_a_pipeline(tmp_path: Path) -> None:
    for layer in range(3):
        torch.save({"weight": torch.ones(4)}, tmp_path / f"layer_{layer:02d}-model_00-model_states.pt")
    torch.save(model_states(None), tmp_path / "mp_rank_00_model_states.pt")
    found = whole(tmp_path)
    assert found.parameter_count == 12
    assert found.tensors[0].name == "model.layer_00-model_00.weight"


def test_experts(tmp_path: Path) -> None:
    key = "deepspeed_moe.experts.deepspeed_experts"
    for expert in range(2):
        tensors = {f"moe.{key}.{expert}.weight": torch.ones(4)}
        torch.save(tensors, tmp_path / f"layer_0_expert_{expert}_mp_rank_00_model_states.pt")
        owned = {"state": {}, "param_groups": [{"lr": 0.5, "params": []}]}
        torch.save({"optimizer": owned}, tmp_path / f"expp_rank_{expert}_mp_rank_00_optim_states.pt")
    torch.save(model_states({"dense": torch.ones(3)}, dp_world_size=2), tmp_path / "mp_rank_00_model_states.pt")
    found = whole(tmp_path)
    assert found.parameter_count == 11 and found.learning_rate == 0.5
    assert {tensor.name for tensor in found.tensors} == {
        "model.dense",
        f"model.moe.{key}.0.weight",
        f"model.moe.{key}.1.weight",
    }


def test_recognised_by_names_alone() -> None:
    def framework(*files: str) -> str | None:
        kind = known.recognise("any tag", set(files), set())
        return None if kind is None else kind.load().framework

    for name in (
        "mp_rank_00_model_states.pt",
        "zero_pp_rank_3_mp_rank_00_model_states.pt",
        "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "layer_01-model_00-model_states.pt",
        "layer_3_expert_7_mp_rank_00_model_states.pt",
        "expp_rank_0_mp_rank_00_optim_states.pt",
    ):
        assert framework(name) == "deepspeed", name
    assert framework("model_states.pt", "latest", "zero_to_fp32.py") is None


def test_inside_a_checkpoint_of_a_trainer(produced: Produced, tmp_path: Path) -> None:
    """`_save_optimizer_and_scheduler` in `transformers/trainer.py` lets the engine save below the checkpoint."""
    directory = tmp_path / "checkpoint-6"
    shutil.copytree(produced("transformers") / "best/checkpoint-6", directory)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
        (directory / name).unlink()
    wanted = zero_3(directory / "global_step7", 2, {"a.weight": (3, 5)})
    (directory / "latest").write_text("global_step7")
    found = inspect(directory)
    assert (found.framework, found.state, found.step) == ("transformers", "complete", 6)
    assert found.parameter_count == sum(map(len, wanted.values()))
    assert found.learning_rate == 0.25
    assert found.resume["optimizer"] and found.resume["scheduler"]
    (directory / "global_step7" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    assert inspect(directory).state == "incomplete"
    (directory / "latest").write_text("global_step8")
    found = inspect(directory)
    assert found.state == "incomplete" and "global_step8/" in found.problems[0]


def test_inside_a_state_of_accelerate(produced: Produced, tmp_path: Path) -> None:
    """`Accelerator.save_state` in `accelerate/accelerator.py` gives the engine `pytorch_model` as its tag."""
    directory = tmp_path / "checkpoint_2"
    shutil.copytree(produced("accelerate") / "project/checkpoints/checkpoint_2", directory)
    for name in ("model.safetensors", "optimizer.bin", "scheduler.bin"):
        (directory / name).unlink()
    zero_3(directory / "pytorch_model", 2, {"a.weight": (3, 5)})
    (directory / "latest").write_text("pytorch_model")
    found = inspect(directory)
    assert (found.framework, found.state, found.step) == ("accelerate", "complete", 7)
    assert found.learning_rate == 0.25 and found.parameter_count == 20


def test_weights_beside_the_engine_are_the_trainers_own(produced: Produced, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint-6"
    shutil.copytree(produced("transformers") / "best/checkpoint-6", directory)
    (directory / "optimizer.pt").unlink()
    save_file({"own": torch.ones(6)}, directory / "model.safetensors")
    zero_3(directory / "global_step6", 2, {"a.weight": (3, 5)})
    found = inspect(directory)
    assert found.state == "complete" and found.parameter_count == 6
    assert json.loads((directory / "trainer_state.json").read_text())["global_step"] == found.step
