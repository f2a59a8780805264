"""LeRobot's checkpoints.

Transcribed from lerobot 0.4.4: `utils/train_utils.py` (the two parts and the order in which they are written),
`utils/random_utils.py` (names of the generators' states), `optim/optimizers.py` and `optim/schedulers.py` (the state,
flattened with slashes, beside its groups; a directory each where there are several optimizers),
`policies/pretrained.py` and `rl/learner.py` (three optimizers, and one more file after them).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.dtypes import decode_items
from ckpt.formats.reading import opened


def save_optimizer(place: Path, step: int) -> None:
    place.mkdir(exist_ok=True)
    flat = {"state/0/step": torch.tensor(float(step)), "state/0/exp_avg": torch.zeros(5, 2)}
    save_file(flat, place / "optimizer_state.safetensors")
    (place / "optimizer_param_groups.json").write_text(json.dumps([{"lr": 5e-5, "params": [0, 1]}]))


def save(base: Path, step: int = 5000, *, scheduler: bool = True, adapter: bool = False) -> Path:
    path = base / f"{step:06d}"
    model, state = path / "pretrained_model", path / "training_state"
    model.mkdir(parents=True)
    state.mkdir()
    (model / "config.json").write_text(json.dumps({"type": "act", "chunk_size": 100}))
    torch.manual_seed(1)
    weights = {"model.encoder.weight": torch.randn(5, 2), "model.encoder.bias": torch.randn(2)}
    save_file(weights, model / ("adapter_model.safetensors" if adapter else "model.safetensors"))
    config: dict[str, Any] = {"batch_size": 8, "steps": 100_000, "optimizer": {"type": "adamw", "lr": 1e-4}}
    config["scheduler"] = {"type": "diffuser"} if scheduler else None
    (model / "train_config.json").write_text(json.dumps(config))
    (state / "training_step.json").write_text(json.dumps({"step": step}))
    generators = {
        "py_rng_state": torch.arange(625),
        "py_rng_version": torch.tensor([3]),
        "np_rng_state_values": torch.arange(624),
        "np_rng_state_index": torch.tensor([10]),
        "np_rng_has_gauss": torch.tensor([0]),
        "np_rng_cached_gaussian": torch.tensor([0.0]),
        "torch_rng_state": torch.get_rng_state(),
    }
    save_file(generators, state / "rng_state.safetensors")
    save_optimizer(state, step)
    if scheduler:
        (state / "scheduler_state.json").write_text(json.dumps({"last_epoch": step}))
    return path


def test_policy_and_training_state_are_one_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path)
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("lerobot", "complete", 5000), found.problems
    assert found.learning_rate == 5e-5
    assert found.config["batch_size"] == 8
    weights = load_file(path / "pretrained_model" / "model.safetensors")
    names = {tensor.name: tensor.shape for tensor in found.tensors}
    for name, tensor in weights.items():
        assert names[f"model.{name}"] == tuple(tensor.shape)
    assert found.parameter_count == sum(tensor.numel() for tensor in weights.values())
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and resume["scheduler"]
    assert resume["rng"] == {"python": True, "numpy": True, "torch": True, "cuda": False, "ranks": 1}


def test_values_can_be_read(tmp_path: Path) -> None:
    path = save(tmp_path)
    with opened(path) as found:
        (placed,) = (one for one in found.tensors if one.info.name == "model.model.encoder.bias")
        assert placed.home is not None and placed.tensor.storage is not None
        raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
    saved = load_file(path / "pretrained_model" / "model.safetensors")
    assert decode_items(raw, "float32") == saved["model.encoder.bias"].tolist()


@pytest.mark.parametrize(
    "name",
    [
        "pretrained_model/model.safetensors",
        "pretrained_model/train_config.json",
        "training_state/training_step.json",
        "training_state/rng_state.safetensors",
        "training_state/optimizer_state.safetensors",
        "training_state/optimizer_param_groups.json",
        "training_state/scheduler_state.json",
    ],
)
def test_every_file_is_needed_whole(tmp_path: Path, name: str) -> None:
    path = save(tmp_path)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    assert inspect(path).state in ("incomplete", "corrupt")
    (path / name).unlink()
    found = inspect(path)
    assert found.state == "incomplete"


def test_what_the_configuration_does_not_train_with_is_not_needed(tmp_path: Path) -> None:
    found = inspect(save(tmp_path, scheduler=False))
    assert found.state == "complete"
    assert not found.resume["scheduler"]


def test_several_optimizers_have_a_directory_each_and_all_are_needed(tmp_path: Path) -> None:
    path = save(tmp_path, scheduler=False)
    state = path / "training_state"
    for name in ("optimizer_state.safetensors", "optimizer_param_groups.json"):
        (state / name).unlink()
    names = ("actor", "critic", "temperature")
    for name in names:
        save_optimizer(state / name, 5000)
    torch.save({"step": 5000, "interaction_step": 9}, state / "training_state.pt")
    config = path / "pretrained_model" / "train_config.json"
    groups = {name: {"lr": 5e-5} for name in names}
    config.write_text(json.dumps({"optimizer": {"type": "multi_adam", "optimizer_groups": groups}}))
    found = inspect(path)
    assert (found.state, found.learning_rate, found.resume["optimizer"]) == ("complete", 5e-5, True), found.problems
    assert {f"optimizer.{name}.state.state/0/exp_avg" for name in names} <= {tensor.name for tensor in found.tensors}
    (state / "temperature" / "optimizer_state.safetensors").unlink()
    missing = inspect(path)
    assert missing.state == "incomplete" and "temperature" in missing.problems[0]


def test_an_adapter_stands_for_the_policy(tmp_path: Path) -> None:
    found = inspect(save(tmp_path, adapter=True))
    assert (found.state, found.parameter_count) == ("complete", 12)


def test_while_it_is_written_it_is_one_already(tmp_path: Path) -> None:
    (tmp_path / "000100" / "pretrained_model").mkdir(parents=True)
    (tmp_path / "000100" / "pretrained_model" / "config.json").write_text("{}")
    found = inspect(tmp_path / "000100")
    assert (found.framework, found.state) == ("lerobot", "incomplete")


@pytest.mark.parametrize("content", ["[]", '{"step": "x"}', "{}", "[" * 50_000])
def test_a_step_that_is_none_is_a_fault(tmp_path: Path, content: str) -> None:
    path = save(tmp_path)
    (path / "training_state" / "training_step.json").write_text(content)
    assert inspect(path).state == "corrupt"


@pytest.mark.parametrize(
    ("name", "directories"),
    [("100", {"videos"}), ("model", {"pretrained_model"}), ("000100", {"training_state"})],
)
def test_other_directories_are_none(name: str, directories: set[str]) -> None:
    assert known.recognise(name, set(), directories) is None
