"""Directories of weights alone, as transformers and peft save them, against the tensors that safetensors reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]

NOTHING_TO_RESUME = {
    "model": True,
    "optimizer": False,
    "scheduler": False,
    "scaler": False,
    "rng": {"python": False, "numpy": False, "torch": False, "cuda": False, "ranks": 0},
    "data": False,
    "topology": {},
}


def expected(base: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "expected.json").read_text())[name]
    return found


@pytest.mark.parametrize(("name", "framework"), [("sharded", "transformers"), ("standalone", "peft")])
def test_says_what_the_library_reads_back(produced: Produced, name: str, framework: str) -> None:
    base = produced("transformers")
    told = expected(base, name)
    found = inspect(base / name)
    assert (found.state, found.problems, found.framework) == ("complete", (), framework)
    assert {tensor.name: [list(tensor.shape), tensor.dtype] for tensor in found.tensors} == told
    assert found.parameter_count == sum(torch.Size(shape).numel() for shape, _ in told.values())
    assert found.resume == NOTHING_TO_RESUME
    assert (found.step, found.epoch, found.loss, found.metrics) == (None, None, None, {})
    config = json.loads((base / name / ("config.json" if name == "sharded" else "adapter_config.json")).read_text())
    assert found.config == config


def test_the_bytes_of_every_tensor_can_be_read(produced: Produced) -> None:
    directory = produced("transformers") / "sharded"
    weights = {name: held for path in directory.glob("*.safetensors") for name, held in load_file(path).items()}
    with opened(directory) as found:
        assert {placed.info.name for placed in found.tensors} == set(weights)
        for placed in found.tensors:
            assert placed.home is not None and placed.tensor.storage is not None
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            assert raw == weights[placed.info.name].numpy().tobytes()


def test_a_shard_that_is_missing_or_cut(produced: Produced, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(produced("transformers") / "sharded", directory)
    shard = directory / "model-00003-of-00004.safetensors"
    content = shard.read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 1):
        shard.write_bytes(content[:length])
        found = inspect(directory)
        assert found.state == "incomplete" and shard.name in found.problems[0], (length, found.problems)
    shard.unlink()
    found = inspect(directory)
    assert found.state == "incomplete" and f"{shard.name} is missing" in found.problems[0]


def test_shards_without_their_index(produced: Produced, tmp_path: Path) -> None:
    base = produced("transformers") / "sharded"
    index = "model.safetensors.index.json"
    assert all(path.stat().st_mtime_ns <= (base / index).stat().st_mtime_ns for path in base.iterdir())
    directory = tmp_path / "model"
    shutil.copytree(base, directory)
    (directory / index).unlink()
    found = inspect(directory)
    assert (found.state, found.problems) == ("incomplete", (f"{index} is missing",))


def test_an_index_that_promises_what_no_shard_holds(produced: Produced, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(produced("transformers") / "sharded", directory)
    index = directory / "model.safetensors.index.json"
    value = json.loads(index.read_text())
    value["weight_map"]["another.weight"] = "model-00001-of-00004.safetensors"
    index.write_text(json.dumps(value))
    found = inspect(directory)
    assert found.state == "corrupt" and "'another.weight'" in found.problems[0]
    for places in ({}, [], None, {"a": 3}, "all"):
        index.write_text(json.dumps({"weight_map": places}))
        assert inspect(directory).state == "corrupt"
    for place in ("../../secret", "/etc/hostname", "a" * 5000):
        index.write_text(json.dumps({"weight_map": {"a": place}}))
        found = inspect(directory)
        assert found.state == "incomplete" and len(found.problems[0]) <= 401


def test_older_shards_of_torch(tmp_path: Path) -> None:
    weights = {f"layer.{index}": torch.full((2, 3), float(index)) for index in range(4)}
    files = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    places = {name: files[index // 2] for index, name in enumerate(weights)}
    for file in files:
        torch.save({name: weights[name] for name, place in places.items() if place == file}, tmp_path / file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    found = inspect(tmp_path)
    assert (found.state, found.framework, found.parameter_count) == ("complete", "torch", 24)
    assert {tensor.name for tensor in found.tensors} == set(weights)


def test_a_model_in_two_formats_is_one_model(produced: Produced, tmp_path: Path) -> None:
    base = produced("transformers")
    directory = tmp_path / "model"
    shutil.copytree(base / "sharded", directory)
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    places = {f"other.{name}": "consolidated-00001-of-00001.safetensors" for name in index["weight_map"]}
    save_file({name: torch.ones(2) for name in places}, directory / "consolidated-00001-of-00001.safetensors")
    (directory / "consolidated.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = inspect(directory)
    assert found.state == "complete" and {tensor.name for tensor in found.tensors} == set(expected(base, "sharded"))
    (directory / "consolidated-00001-of-00001.safetensors").unlink()
    assert inspect(directory).state == "incomplete"


def test_one_file_with_the_configuration_of_its_model(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(IsADirectoryError):
        inspect(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"hidden": 3}))
    assert inspect(tmp_path).framework == "safetensors"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    found = inspect(tmp_path)
    assert (found.framework, found.config) == ("transformers", {"model_type": "llama"})
    # The state of a training's end says nothing of which moment these weights are of.
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 9, "log_history": []}))
    assert inspect(tmp_path).step is None


def recognised(files: set[str], directories: set[str] | None = None) -> str | None:
    kind = known.recognise("out", files, directories or set())
    return None if kind is None else kind.load().framework


def test_a_training_with_its_last_weights_is_no_checkpoint() -> None:
    model = {"model.safetensors", "config.json"}
    assert recognised(model | {"training_args.bin", "tokenizer.json"}) == "safetensors"
    for name in ("checkpoint-10", "checkpoints", "step_100", "epoch=3", "iter_7"):
        assert recognised(model, {name}) is None
    for name in ("last.ckpt", "epoch_3.pt", "optimizer.pt"):
        assert recognised(model | {name}) is None
    assert recognised({"adapter_model.safetensors", "adapter_config.json"}, {"checkpoint-10"}) is None


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_is_not_all_there(produced: Produced, tmp_path: Path, missing: str) -> None:
    directory = tmp_path / "adapter"
    shutil.copytree(produced("transformers") / "standalone", directory)
    (directory / missing).unlink()
    found = inspect(directory)
    assert (found.framework, found.state, found.problems) == ("peft", "incomplete", (f"{missing} is missing",))
