"""Checkpoints that DeepSpeed made on two processes, against what torch and its own consolidation read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.formats import inspect
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]

STAGES = (0, 2, 3)


def expected(base: Path, stage: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "expected.json").read_text())[STAGES.index(stage)]
    return found


def copy(base: Path, stage: int, to: Path) -> Path:
    target = to / "global_step3"
    shutil.copytree(base / expected(base, stage)["directory"], target)
    return target


@pytest.mark.parametrize("stage", STAGES)
def test_says_what_the_library_reads_back(produced: Produced, stage: int) -> None:
    base = produced("deepspeed")
    told = expected(base, stage)
    found = inspect(base / told["directory"])
    assert (found.state, found.problems) == ("complete", ())
    assert (found.framework, found.format) == ("deepspeed", "directory")
    assert (found.step, found.epoch, found.learning_rate) == (told["global_steps"], told["epoch"], told["lr"])
    assert found.metrics == {"val_loss": told["val_loss"]}
    assert found.config == told["ds_config"]
    assert sorted(found.files) == told["files"]
    assert told["latest"] == Path(found.path).name
    assert found.parameter_count == sum(torch.Size(shape).numel() for shape, _, _ in told["weights"].values())
    assert found.resume == {
        "model": True,
        "optimizer": True,
        "scheduler": True,
        "scaler": False,
        "rng": {"python": False, "numpy": False, "torch": False, "cuda": False, "ranks": 0},
        "data": False,
        "topology": {
            "world_size": told["dp_world_size"] * told["mp_world_size"],
            "data_parallel": told["dp_world_size"],
            "tensor_parallel": told["mp_world_size"],
        },
    }


@pytest.mark.parametrize("stage", STAGES)
def test_the_weights_are_those_that_deepspeed_puts_together(produced: Produced, stage: int) -> None:
    base = produced("deepspeed")
    told = expected(base, stage)
    with opened(base / told["directory"]) as found:
        weights = {placed.info.name: placed for placed in found.tensors if placed.info.name.startswith("model.")}
        assert {name.removeprefix("model.") for name in weights} == set(told["weights"])
        for name, (shape, dtype, values) in told["weights"].items():
            placed = weights[f"model.{name}"]
            assert (list(placed.info.shape), placed.info.dtype) == (shape, dtype)
            assert placed.home is not None and placed.tensor.storage is not None
            raw = bytearray(placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span))
            assert torch.frombuffer(raw, dtype=getattr(torch, dtype)).double().tolist() == values
            halves = [
                placed.home.bytes_of(placed.tensor.storage, placed.start + begin, length)
                for begin, length in ((0, placed.span // 2), (placed.span // 2, placed.span - placed.span // 2))
            ]
            assert b"".join(halves) == raw


@pytest.mark.parametrize("stage", STAGES)
def test_incomplete_when_any_file_is_missing_or_cut(produced: Produced, tmp_path: Path, stage: int) -> None:
    base = produced("deepspeed")
    directory = copy(base, stage, tmp_path)
    for name in expected(base, stage)["files"]:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[:-5])
        found = inspect(directory)
        assert found.state == "incomplete" and name in found.problems[0]
        (directory / name).unlink()
        if any(directory.iterdir()):
            found = inspect(directory)
            assert (found.framework, found.state) == ("deepspeed", "incomplete"), (name, found.problems)
        (directory / name).write_bytes(content)
    assert inspect(directory).state == "complete"


def test_nodes_that_keep_their_files_to_themselves(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("deepspeed"), 2, tmp_path)
    name = directory / "mp_rank_00_model_states.pt"
    held = torch.load(name, weights_only=False)
    held["ds_config"]["checkpoint"] = {"use_node_local_storage": True}
    torch.save(held, name)
    next(directory.glob("*rank_1*optim_states.pt")).unlink()
    assert inspect(directory).state == "complete"


@pytest.mark.parametrize("stage", [2, 3])
def test_the_universal_form(produced: Produced, tmp_path: Path, stage: int) -> None:
    base = produced("deepspeed")
    told = expected(base, stage)
    directory = tmp_path / "global_step3_universal"
    shutil.copytree(base / f"{told['directory']}_universal", directory)
    found = inspect(directory)
    assert (found.state, found.framework, found.step) == ("complete", "deepspeed", told["global_steps"])
    assert (found.metrics, found.learning_rate) == ({"val_loss": told["val_loss"]}, told["lr"])
    assert found.resume["optimizer"] and found.resume["model"]
    with opened(directory) as read:
        weights = {placed.info.name: placed for placed in read.tensors if placed.info.name.startswith("model.")}
        for name, (shape, dtype, values) in told["weights"].items():
            placed = weights[f"model.{name}"]
            assert (list(placed.info.shape), placed.info.dtype) == (shape, dtype)
            assert placed.home is not None and placed.tensor.storage is not None
            raw = bytearray(placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span))
            assert torch.frombuffer(raw, dtype=getattr(torch, dtype)).double().tolist() == values
    moment = directory / "zero" / "2.weight" / "exp_avg.pt"
    moment.write_bytes(moment.read_bytes()[:-5])
    assert inspect(directory).state == "incomplete"
    (directory / "zero" / "optimizer_state.pt").unlink()
    assert inspect(directory).state == "incomplete"
