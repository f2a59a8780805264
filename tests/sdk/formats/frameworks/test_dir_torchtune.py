"""torchtune's checkpoints.

Transcribed from torchtune 0.6.1: `training/checkpointing/_checkpointer.py` (numbered files of weights in `epoch_N`, the
adapter beside them, one `recipe_state/recipe_state.pt` for the run, written last and only while training goes on) and
`recipes/lora_finetune_single_device.py` (its keys; `epochs_run` is the number of finished epochs). Later, unreleased
versions (pytorch/torchtune at 375d71b) write `recipe_state.pt` with the weights, into `epoch_N` or `step_N`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.dtypes import decode_items
from ckpt.formats.reading import opened


def save(base: Path, epoch: int = 0, *, adapter: bool = False, weights: bool = True, recipe: int | None = None) -> Path:
    path = base / f"epoch_{epoch}"
    path.mkdir()
    torch.manual_seed(epoch)
    places: dict[str, str] = {}
    for number in (1, 2) if weights else ():
        name = f"model-0000{number}-of-00002.safetensors"
        save_file({f"layers.{number}.weight": torch.randn(3, 4)}, path / name)
        places[f"layers.{number}.weight"] = name
    if weights:
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    if adapter:
        lora = {"layers.1.lora_a.weight": torch.randn(2, 4), "layers.1.lora_b.weight": torch.randn(3, 2)}
        torch.save(lora, path / "adapter_model.pt")
        save_file(
            {f"base_model.model.{name}": tensor for name, tensor in lora.items()}, path / "adapter_model.safetensors"
        )
        (path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4, "peft_type": "LORA"}))
    (path / "config.json").write_text('{"model_type": "llama"}')
    if recipe is not None:
        (base / "recipe_state").mkdir(exist_ok=True)
        torch.save(recipe_state(recipe), base / "recipe_state" / "recipe_state.pt")
    return path


def recipe_state(epochs: int) -> dict[str, Any]:
    return {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3, 4)}}, "param_groups": [{"lr": 3e-4, "params": [0]}]},
        "seed": 7,
        "epochs_run": epochs,
        "total_epochs": 5,
        "max_steps_per_epoch": None,
        "dataloader": {"_snapshot": {"_step": 3}},
    }


def test_weights_of_an_epoch_with_its_recipe(tmp_path: Path) -> None:
    found = inspect(save(tmp_path, 1, recipe=2))
    assert (found.framework, found.state, found.epoch) == ("torchtune", "complete", 1), found.problems
    assert found.learning_rate == 3e-4
    assert {tensor.name for tensor in found.tensors} == {"model.layers.1.weight", "model.layers.2.weight"}
    assert found.parameter_count == 24
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and resume["data"]


def test_the_recipe_of_another_epoch_does_not_belong_to_it(tmp_path: Path) -> None:
    save(tmp_path, 1, recipe=2)
    earlier = inspect(save(tmp_path, 0))
    assert (earlier.state, earlier.epoch, earlier.step) == ("complete", 0, None)
    assert earlier.resume["model"] and not earlier.resume["optimizer"] and not earlier.resume["data"]


def test_a_recipe_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = save(tmp_path, 1, recipe=2)
    recipe = tmp_path / "recipe_state" / "recipe_state.pt"
    recipe.write_bytes(recipe.read_bytes()[:-20])
    found = inspect(path)
    assert found.state == "complete"
    assert not found.resume["optimizer"]


@pytest.mark.parametrize("name", ["epoch_0", "step_40"])
def test_a_recipe_with_the_weights_is_its_own(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, 0, weights=False).rename(tmp_path / name)
    save_file({"layers.1.weight": torch.ones(3, 4)}, path / "model.safetensors")
    torch.save({**recipe_state(1), "steps_run": 40}, path / "recipe_state.pt")
    found = inspect(path)
    assert (found.framework, found.state, found.step) == ("torchtune", "complete", 40), found.problems
    assert found.epoch == (0 if name == "epoch_0" else 1)
    assert (found.parameter_count, found.learning_rate) == (12, 3e-4)
    assert found.resume["model"] and found.resume["optimizer"] and found.resume["data"]
    (path / "recipe_state.pt").write_bytes((path / "recipe_state.pt").read_bytes()[:-20])
    assert inspect(path).state == "incomplete"


def test_an_adapter_alone_is_one_too(tmp_path: Path) -> None:
    found = inspect(save(tmp_path, adapter=True, weights=False))
    assert (found.framework, found.state) == ("torchtune", "complete"), found.problems
    assert found.config["lora_alpha"] == 4
    assert found.parameter_count == 2 * 4 + 3 * 2


def test_values_can_be_read(tmp_path: Path) -> None:
    path = save(tmp_path, adapter=True)
    saved = torch.load(path / "adapter_model.pt")
    with opened(path) as found:
        (placed,) = (one for one in found.tensors if one.info.name == "adapter_model.layers.1.lora_b.weight")
        assert placed.home is not None and placed.tensor.storage is not None
        raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
    assert decode_items(raw, "float32") == saved["layers.1.lora_b.weight"].flatten().tolist()


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
def test_every_numbered_file_is_needed_whole(tmp_path: Path, name: str) -> None:
    path = save(tmp_path)
    (path / name).write_bytes((path / name).read_bytes()[:-1])
    cut = inspect(path)
    assert cut.state == "incomplete"
    (path / name).unlink()
    missing = inspect(path)
    assert (missing.framework, missing.state) == ("torchtune", "incomplete")
    assert name in missing.problems[0]


def test_an_adapter_that_ends_early_is_incomplete(tmp_path: Path) -> None:
    path = save(tmp_path, adapter=True)
    (path / "adapter_model.pt").write_bytes((path / "adapter_model.pt").read_bytes()[:-20])
    assert inspect(path).state == "incomplete"


def test_a_count_that_cannot_be_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "epoch_3"
    path.mkdir()
    save_file({"a": torch.ones(2)}, path / "model-00001-of-00000.safetensors")
    assert inspect(path).state == "corrupt"


@pytest.mark.parametrize("content", ["[]", "[" * 50_000, "{"])
def test_a_hostile_configuration_is_a_state_and_no_error(tmp_path: Path, content: str) -> None:
    path = save(tmp_path, adapter=True)
    (path / "adapter_config.json").write_text(content)
    assert inspect(path).state in ("incomplete", "corrupt")


@pytest.mark.parametrize(
    ("name", "files"),
    [("epoch_1", {"samples.txt"}), ("epochs", {"notes.md"}), ("epoch_1", {"model.onnx"})],
)
def test_other_directories_are_none(name: str, files: set[str]) -> None:
    assert known.recognise(name, files, set()) is None
